"""Who holds how much of the run's budget: lease table in, lease table out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pytest_isolate.model.service import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One instance's part of the budget; `holder` is the worker it belongs to, empty for the run itself."""

    name: str
    memory_bytes: int
    holder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What all instances of a run may take together."""

    memory_bytes: int
    containers: int

    def __str__(self) -> str:
        return f"{self.memory_bytes // MIB} MiB and {self.containers} containers"


@dataclass(frozen=True, slots=True)
class Refused:
    """No room at the moment; `reason` says what is missing and who has it."""

    reason: str


def grant(leases: tuple[Lease, ...], wanted: Lease, budget: Budget) -> tuple[Lease, ...] | Refused:
    """The table with the wanted lease in it, if there is room. One that is there already is granted again."""
    if any(lease.name == wanted.name for lease in leases):
        return leases
    memory = sum(lease.memory_bytes for lease in leases)
    if len(leases) + 1 <= budget.containers and memory + wanted.memory_bytes <= budget.memory_bytes:
        return (*leases, wanted)
    names = ", ".join(sorted(lease.name for lease in leases))
    return Refused(
        f"{memory // MIB} of {budget.memory_bytes // MIB} MiB and {len(leases)} of {budget.containers} containers "
        f"are taken by {names or 'nobody'}"
    )


def release(leases: Iterable[Lease], names: Collection[str]) -> tuple[Lease, ...]:
    """The table without these leases."""
    return tuple(lease for lease in leases if lease.name not in names)


def release_holder(leases: Iterable[Lease], holder: str) -> tuple[Lease, ...]:
    """The table without what a worker held."""
    return tuple(lease for lease in leases if lease.holder != holder)


def fits(budget: Budget, memory_bytes: int, containers: int) -> bool:
    """Whether so much can ever run at once."""
    return memory_bytes <= budget.memory_bytes and containers <= budget.containers
