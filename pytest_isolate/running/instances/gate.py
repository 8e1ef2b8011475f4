"""The gate that every start passes: the run is not ending, there is room, a slot is free, and the guardian watches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_isolate.errors import IsolateError
from pytest_isolate.planning.placement import Instance
from pytest_isolate.running.instances.budget import BudgetKeeper

# Measured on Docker 20.10: four containers created and started at once gain 1.7 x over one by one; more gain nothing
# and make each single one slower.
PARALLEL_STARTS = 4


class RunClosing(IsolateError):
    """The run ends while a service was still starting."""


class StartGate:
    """Lets starts through, a few at once, until the run ends."""

    def __init__(self, budget: BudgetKeeper, require_guard: Callable[[], None]) -> None:
        self._budget = budget
        self.require_guard = require_guard
        """Return when the guardian watches; EngineError where it does not, for then nothing may be started."""
        self._slots = threading.BoundedSemaphore(PARALLEL_STARTS)
        self._closing = threading.Event()

    @property
    def is_closing(self) -> bool:
        """True when nothing more is started."""
        return self._closing.is_set()

    def close(self) -> None:
        """Start nothing more; what is under way ends between two requests with RunClosing."""
        self._closing.set()

    def raise_if_closing(self) -> None:
        """RunClosing where nothing more is started."""
        if self._closing.is_set():
            raise RunClosing("the run is ending")

    def wait_for_room(self, instance: Instance) -> None:
        """Return when the budget has room for an instance; StartError says who has it otherwise."""
        self._budget.acquire(instance, self.raise_if_closing)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of the few places for containers that are being made."""
        with self._slots:
            self.raise_if_closing()
            yield
