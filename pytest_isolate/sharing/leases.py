"""Leases of the budget: lease table in, lease table out.

To avoid deadlock, a worker reserves everything a test may need before it starts the first instance, and what lives to
the end of the run has its room from the beginning, started or not. An instance that is started ahead of its test has a
claim of its own, on top of that of the running test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.model.resources import Resources
from pytest_isolate.model.service import MIB

_NOTHING = Resources()
_RETAINED = "kept"


class Lease(Struct, frozen=True, kw_only=True):
    """One instance's part of the budget; `holder` is the worker it belongs to, empty for the run itself.

    `max_claim` is the most that its holder may need before it gives this one back, this one included; nothing for one
    that stays to the end of the run.
    """

    name: str
    room: Resources
    holder: str = ""
    max_claim: Resources = _NOTHING
    prefetched_for: str = ""
    """The coming test that it was started ahead of; empty once that has come."""

    @property
    def is_for_whole_run(self) -> bool:
        """True for what stays to the end of the run."""
        return self.max_claim == _NOTHING

    def __str__(self) -> str:
        return f"{self.name} ({self.holder})" if self.holder else self.name


class Refused(Struct, frozen=True):
    """No room at the moment; `reason` says what is missing and who has it."""

    reason: str


def grant(
    leases: tuple[Lease, ...], lease: Lease, budget: Resources, lasting: Resources = _NOTHING
) -> tuple[Lease, ...] | Refused:
    """The table with this lease in it, if there is room; `lasting` is what will stay to the end of the run.

    What its holder has claimed is there. A lasting one that is there already is granted again: it is shared.
    """
    if lease.is_for_whole_run and any(other.name == lease.name for other in leases):
        return leases
    granted = (*leases, lease)
    if _taken(granted, lasting).fits(budget):
        return granted
    taken = _taken(leases, lasting)
    names = ", ".join(sorted(map(str, leases)))
    return Refused(
        f"{taken.memory_bytes // MIB} of {budget.memory_bytes // MIB} MiB and {taken.containers} of "
        f"{budget.containers} containers are taken or claimed; running: {names or 'nothing'}"
    )


def is_its_turn(name: str, tests: Sequence[Collection[str]], granted: Collection[str]) -> bool:
    """True when a lease may be asked for, by what a worker's tests need, in their order, and what it has been granted.

    Ahead of its test only when each test before has its first lease, and so its whole claim: then no holder of room for
    a later test ever waits for an earlier one.
    """
    for needed in tests:
        if name in needed:
            return True
        if needed and not any(other in granted for other in needed):
            return False
    return True


def promote(leases: Iterable[Lease], names: Collection[str]) -> tuple[Lease, ...]:
    """The table when the test of some leases that were ahead has come: from now on they share their holder's claim."""
    return tuple(replace(lease, prefetched_for="") if lease.name in names else lease for lease in leases)


def release(leases: tuple[Lease, ...], name: str) -> tuple[Lease, ...]:
    """The table without one lease of this name: of a test that is run again there are two for a moment."""
    found = next((lease for lease in leases if lease.name == name), None)
    return tuple(lease for lease in leases if lease is not found)


def retain(
    leases: tuple[Lease, ...], name: str, room: Resources, budget: Resources, peak: Resources
) -> tuple[Lease, ...] | Refused:
    """The table when an instance is retained at its end. Refused where what is still to come would not fit.

    It then holds its room on its own: no holder waits for it, as the most that others need at once fits beside it.
    """
    retained = tuple(lease for lease in leases if lease.holder == _RETAINED)
    if not sum((kept.room for kept in retained), peak + room).fits(budget):
        return Refused(f"{len(retained)} are kept already")
    return (
        *release(leases, name),
        Lease(name=f"{_RETAINED} {len(retained)} {name}", room=room, holder=_RETAINED, max_claim=room),
    )


def release_holder(leases: Iterable[Lease], holder: str) -> tuple[Lease, ...]:
    """The table without what a worker held."""
    return tuple(lease for lease in leases if lease.holder != holder)


def _taken(leases: Iterable[Lease], lasting: Resources) -> Resources:
    """The room that no other lease can have."""
    held: dict[tuple[str, str], Resources] = defaultdict(Resources)
    claimed: dict[tuple[str, str], Resources] = defaultdict(Resources)
    started = _NOTHING
    for lease in leases:
        if lease.is_for_whole_run:
            started += lease.room
        else:
            held[lease.holder, lease.prefetched_for] += lease.room
            claimed[lease.holder, lease.prefetched_for] |= lease.max_claim
    return sum((held[holder] | claimed[holder] for holder in held), lasting | started)
