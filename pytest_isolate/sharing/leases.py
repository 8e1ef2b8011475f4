"""Who holds how much of the budget: lease table in, lease table out.

Nobody may wait for room while he holds some that others wait for. So whoever gets the first piece of what ends with his
tests has claimed all that he may need before he gives it back, and what stays to the end of the run has its room from
the beginning, whether it was started or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_isolate.model.resources import Resources
from pytest_isolate.model.service import MIB

_NOTHING = Resources()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One instance's part of the budget; `holder` is the worker it belongs to, empty for the run itself.

    `claim` is the most that its holder may need before he gives this one back, with this one; nothing for an instance
    that stays to the end of the run.
    """

    name: str
    room: Resources
    holder: str = ""
    claim: Resources = _NOTHING

    @property
    def is_lasting(self) -> bool:
        """Whether it stays to the end of the run."""
        return self.claim == _NOTHING

    def __str__(self) -> str:
        return f"{self.name} ({self.holder})" if self.holder else self.name


@dataclass(frozen=True, slots=True)
class Refused:
    """No room at the moment; `reason` says what is missing and who has it."""

    reason: str


def grant(
    leases: tuple[Lease, ...], wanted: Lease, budget: Resources, lasting: Resources = _NOTHING
) -> tuple[Lease, ...] | Refused:
    """The table with the wanted lease in it, if there is room; `lasting` is what will stay to the end of the run.

    What its holder has claimed is there. A lasting one that is there already is granted again: it is shared.
    """
    if wanted.is_lasting and any(lease.name == wanted.name for lease in leases):
        return leases
    granted = (*leases, wanted)
    if _taken(granted, lasting).fits(budget):
        return granted
    taken = _taken(leases, lasting)
    names = ", ".join(sorted(map(str, leases)))
    return Refused(
        f"{taken.memory_bytes // MIB} of {budget.memory_bytes // MIB} MiB and {taken.containers} of "
        f"{budget.containers} containers are taken or claimed; running: {names or 'nothing'}"
    )


def release(leases: tuple[Lease, ...], name: str) -> tuple[Lease, ...]:
    """The table without one lease of this name: of a test that is run again there are two for a moment."""
    found = next((lease for lease in leases if lease.name == name), None)
    return tuple(lease for lease in leases if lease is not found)


def release_holder(leases: Iterable[Lease], holder: str) -> tuple[Lease, ...]:
    """The table without what a worker held."""
    return tuple(lease for lease in leases if lease.holder != holder)


def _taken(leases: Iterable[Lease], lasting: Resources) -> Resources:
    """What nobody else can have."""
    held: dict[str, Resources] = defaultdict(Resources)
    claimed: dict[str, Resources] = defaultdict(Resources)
    started = _NOTHING
    for lease in leases:
        if lease.is_lasting:
            started += lease.room
        else:
            held[lease.holder] += lease.room
            claimed[lease.holder] |= lease.claim
    return sum((held[holder] | claimed[holder] for holder in held), lasting | started)
