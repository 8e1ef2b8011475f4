"""Whose an instance is: this process's alone, the run's (all workers), or kept for later runs of the project."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_isolate.model.identity import Run
from pytest_isolate.planning.placement import Place
from pytest_isolate.running.keeping import Keep
from pytest_isolate.sharing.store import Board


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The labels that objects carry, and the board on which they are published; no board means private."""

    run: Run
    board: Board | None = None
    keep: Keep | None = None

    @property
    def is_kept(self) -> bool:
        """Whether its instances outlive the run."""
        return self.keep is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """The grounds of this process."""

    private: Ground
    shared: Ground

    def of(self, place: Place) -> Ground:
        """The ground of a place: what belongs to a worker, module, class or test is private."""
        is_shared = not place.node and not place.worker
        return self.shared if is_shared else self.private

    @property
    def both(self) -> tuple[Ground, Ground]:
        """Private and shared."""
        return (self.private, self.shared)
