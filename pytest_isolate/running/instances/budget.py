"""The run's budget of memory and containers, for which starts queue, and the gate that every start passes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_isolate.errors import IsolateError, PathError, StartError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.resources import Resources
from pytest_isolate.planning.placement import Instance
from pytest_isolate.planning.plan import Plan, lasting_demand, peak_demand
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.running import describe_instance, instance_hash
from pytest_isolate.sharing.board import LeaseTable
from pytest_isolate.sharing.leases import Lease, Refused, grant, is_its_turn, promote, release, release_holder, retain

# Tests, pytest itself and the rest of the machine need room too.
_SHARE_OF_MEMORY = 0.8
_MAX_CONTAINERS = 200
_DEADLINE_S = 300.0
_PAUSE_S = 0.1
_NO_PLAN = Plan()


class BudgetKeeper:
    """Grants instances their part of the budget; all processes of a run share one table, and plan alike."""

    def __init__(
        self, table: LeaseTable, budget: Resources, run: Run, clock: Clock, plan: Plan = _NO_PLAN, workers: int = 1
    ) -> None:
        self._table = table
        self._budget = budget
        self._run = run
        self._clock = clock
        self._claims = plan.claims
        self._lasting = lasting_demand(plan, workers)
        self._peak = peak_demand(plan, workers)
        self._never = threading.Event()
        self._lock = threading.Lock()
        self._tests: list[tuple[str, set[str]]] = []
        self._granted: set[str] = set()

    def expect(self, tests: Sequence[tuple[str, Iterable[Instance]]]) -> None:
        """Note the test that runs now, and those that come next, with what each needs that ends with some test.

        What a coming one needs gets room only when all before it has some: no test waits for room while it holds some.
        """
        with self._lock:
            self._tests = [
                (test, {lease_name(i) for i in needed if i.key.place.node and not i.spec.external})
                for test, needed in tests
            ]
            now = self._tests[0][1] & self._granted if self._tests else set()
        if now:
            self._note(lambda leases: promote(leases, now))

    def acquire(self, instance: Instance, raise_if_closing: Callable[[], None]) -> None:
        """Return when there is room; StartError, saying who has it, when nothing has changed for five minutes."""
        since, seen = self._clock.now(), None
        while True:
            raise_if_closing()
            wanted, may_ask = self._lease(instance)
            refused = self._take(wanted) if may_ask else Refused("what comes before it has no room yet")
            if refused is None:
                return
            # What is started ahead of its test may wait as long as it likes.
            if refused != seen or wanted.prefetched_for:
                since, seen = self._clock.now(), refused
            if self._clock.now() - since >= _DEADLINE_S:
                raise self._error(instance, wanted, refused)
            self._clock.wait(self._never, _PAUSE_S)

    def release(self, instance: Instance) -> None:
        """Give an instance's part back."""
        name = lease_name(instance)
        with self._lock:
            self._granted.discard(name)
        self._note(lambda leases: release(leases, name))

    def keep(self, instance: Instance) -> bool:
        """Let an instance that ends with its tests stay to the end of the run; false where there is no room."""
        if not instance.key.place.node:
            return True
        name, room = lease_name(instance), _room_of(instance)
        try:
            return self._table.update(lambda leases: retain(leases, name, room, self._budget, self._peak)) is None
        except PathError:
            return False

    def release_worker(self, worker: str) -> None:
        """Give back what a dead worker held."""
        self._table.update(lambda leases: release_holder(leases, worker))

    def _take(self, wanted: Lease) -> Refused | None:
        refused = self._table.update(lambda leases: grant(leases, wanted, self._budget, self._lasting))
        if refused is None:
            with self._lock:
                self._granted.add(wanted.name)
                has_come = bool(self._tests) and wanted.name in self._tests[0][1]
            if wanted.prefetched_for and has_come:
                self._note(lambda leases: promote(leases, {wanted.name}))
        return refused

    def _note(self, change: Callable[[tuple[Lease, ...]], tuple[Lease, ...]]) -> None:
        """Change the table. Where it cannot be written, the next start is told so."""
        with suppress(PathError):
            self._table.update(change)

    def _lease(self, instance: Instance) -> tuple[Lease, bool]:
        name, place, room = lease_name(instance), instance.key.place, _room_of(instance)
        # Of what only request.getfixturevalue() asks for the plan knows nothing.
        claim = self._claims.get(place, room) if place.node else Resources()
        with self._lock:
            number = next((n for n, (_, names) in enumerate(self._tests) if name in names), 0)
            may_ask = not number or is_its_turn(name, [names for _, names in self._tests], self._granted)
            ahead_of = self._tests[number][0] if number else ""
        return Lease(name=name, room=room, holder=place.worker, max_claim=claim, prefetched_for=ahead_of), may_ask

    def _error(self, instance: Instance, wanted: Lease, refused: Refused) -> StartError:
        return StartError(
            describe_instance(instance, self._run),
            f"found no room in the run's budget for {_DEADLINE_S:.0f} s",
            tried=f"reserve {wanted.max_claim | wanted.room}",
            found=refused.reason,
            do="raise --isolate-max-memory or --isolate-max-containers, or run fewer workers",
        )


def _room_of(instance: Instance) -> Resources:
    return Resources(memory_bytes=instance.spec.reserved_bytes, containers=1)


def lease_name(instance: Instance) -> str:
    """An instance in the table of leases: readable, and different for each instance."""
    return f"{instance.key.service}#{instance_hash(instance.key)[:6]}"


def machine_budget(memory_bytes: int = 0) -> Resources:
    """Most of the engine's memory; where that is not known, of what this machine or our control group leaves to us."""
    return Resources(memory_bytes=int((memory_bytes or _own_memory()) * _SHARE_OF_MEMORY), containers=_MAX_CONTAINERS)


def _own_memory() -> int:
    if not hasattr(os, "sysconf"):
        import psutil  # needed on Windows only

        return int(psutil.virtual_memory().total)
    total = int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no such control group, or "max"
            total = min(total, int(Path(path).read_text(encoding="utf-8")))
    return total


class RunClosing(IsolateError):
    """The run ends while a service is still starting."""


class StartGate:
    """Lets starts through, a few at once, until the run ends."""

    def __init__(self, budget: BudgetKeeper, require_guard: Callable[[], None], parallel_starts: int) -> None:
        self._budget = budget
        self.require_guard = require_guard
        """Return when the guardian watches; EngineError where it does not, for then nothing may be started."""
        self._slots = threading.BoundedSemaphore(parallel_starts)
        self.closed: Future[None] = Future()
        """Done when nothing more is started."""

    @property
    def is_closing(self) -> bool:
        """True when nothing more is started."""
        return self.closed.done()

    def close(self) -> None:
        """Start nothing more; what is under way ends between two requests with RunClosing."""
        with suppress(InvalidStateError):  # closed before
            self.closed.set_result(None)

    def raise_if_closing(self) -> None:
        """RunClosing where nothing more is started."""
        if self.is_closing:
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
