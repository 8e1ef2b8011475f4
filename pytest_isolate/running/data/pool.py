"""Keeps the copies of one instance ready, in a thread of its own, over one client that stays open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from pytest_isolate.errors import EngineError, FreshError, IsolateError
from pytest_isolate.model.fresh import FreshSpec
from pytest_isolate.model.service import ServiceId
from pytest_isolate.planning.plan import CopyDemand
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.data.backends.base import BackendError, DataBackend
from pytest_isolate.running.data.names import Makers
from pytest_isolate.running.data.pool_table import Create, Drop, PoolTable
from pytest_isolate.running.data.templates import Templates

# How long a test waits for a copy once its template is there: a hundred times what one takes.
_TIMEOUT_S = 60
# How often a keeper without work looks for what dead processes have left.
_SWEEP_S = 20.0
# What the copies that are ready may take, those of all workers together.
_MOST_BYTES = 512 << 20
# Of numbered databases, a quarter may stay behind to be looked into.
_SPARED_PART = 4

_SERVER = "see the service's log, and give its container more memory or processors"


class DropOrphans:
    """Drop what dead processes have left."""


class CopyPool:
    """The copies that this process makes of one instance."""

    def __init__(
        self,
        *,
        wanted: tuple[CopyDemand, ...],
        workers: int,
        cap: int,
        names: Iterator[str],
        open_backend: Callable[[], DataBackend],
        templates: Templates,
        makers: Makers,
        clock: Clock,
    ) -> None:
        self._table: PoolTable[ServiceId] = PoolTable(cap)
        for want in wanted:
            self._table.add(want.fresh_id, -(-want.count // workers))
        self._specs = {want.fresh_id: want.spec for want in wanted}
        self._workers = workers
        self._names = names
        self._open_backend = open_backend
        self._templates = templates
        self._makers = makers
        self._clock = clock
        self._changed = threading.Condition()
        self._is_closing = False
        self._backend: DataBackend | None = None
        self._template: dict[ServiceId, str] = {}
        self._database: dict[str, str] = {}
        self._room: int | None = None
        self._retained: set[str] = set()
        self._errors: dict[ServiceId, IsolateError] = {}
        self._failures: dict[ServiceId, list[FreshError]] = {}
        self._made_s: list[float] = []
        self._swept_at = clock.now() - _SWEEP_S
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to make templates and copies in the background."""
        for fresh_id, spec in self._specs.items():
            self._spawn("isolate-fresh-init", self._prepare, fresh_id, spec)
        self._spawn("isolate-fresh", self._work)

    def take(self, fresh_id: ServiceId) -> tuple[str, str]:
        """A copy for one test: the name to give it back by, and the database. FreshError where there can be none."""
        with self._changed:
            self._check(fresh_id)
            name = self._table.take(fresh_id, self._clock.now())
            if name is None:
                name = self._await(fresh_id)
            self._changed.notify_all()
            return name, self._database[name]

    def give_back(self, name: str) -> None:
        """Take a copy back whose test has ended."""
        with self._changed:
            self._table.give_back(name)
            self._changed.notify_all()

    def retain(self, name: str, until: float) -> bool:
        """Have a copy stay when it is given back. False where tests would run short of numbers."""
        with self._changed:
            if name not in self._retained:
                if self._room is not None and len(self._retained) >= self._room // (_SPARED_PART * self._workers):
                    return False
                self._makers.retain(name, until)
                self._table.retain(name)
                self._retained.add(name)
            return True

    def close(self, timeout_s: float, *, drop: bool) -> None:
        """Make nothing more. With `drop`, the server goes on without us, so no copy may stay on it."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        deadline = self._clock.now() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock.now()))
        if self._backend and not any(thread.is_alive() for thread in self._threads):
            try:
                for name in self._table.empty() if drop else ():
                    self._backend.drop(name)
            except (BackendError, EngineError):
                pass  # the next process that uses the server finds them, and that this one is gone
            finally:
                self._backend.close()

    def figures(self) -> dict[str, list[float]]:
        """Of each kind: takes, how many of them did not wait, the seconds that all copies took, and their number."""
        with self._changed:
            spent = [sum(self._made_s), float(len(self._made_s))]
            pools = self._table.pools.items()
            return {self._specs[kind].name: [pool.taken, pool.hits, *spent] for kind, pool in pools if pool.taken}

    def expect(self, want: CopyDemand) -> None:
        """Make copies of one more kind, unless they are made already."""
        with self._changed:
            if want.fresh_id in self._specs:
                return
            self._specs[want.fresh_id] = want.spec
            self._table.add(want.fresh_id, want.count)
            self._spawn("isolate-fresh-init", self._prepare, want.fresh_id, want.spec)

    def failure(self, fresh_id: ServiceId) -> IsolateError | None:
        """Why there is no template; None while nothing is wrong."""
        return self._errors.get(fresh_id)

    def raise_if_closing(self) -> None:
        """FreshError when the run is ending."""
        if self._is_closing:
            raise FreshError("the run is ending")

    # -- in the thread of the test --------------------------------------------------------------------------------

    def _await(self, fresh_id: ServiceId) -> str:
        self._changed.notify_all()
        began, before = None, len(self._failures.get(fresh_id, ()))
        try:
            while True:
                name = self._table.take_awaited(fresh_id)
                if name is not None:
                    return name
                self._check(fresh_id)
                failures = self._failures.get(fresh_id, [])
                # The first may be the client of before a restart.
                if len(failures) >= before + 2:
                    raise failures[-1]
                # Init may take as long as it needs: it has a deadline of its own.
                if fresh_id in self._template and began is None:
                    began = self._clock.now()
                if began is not None and self._clock.now() > began + _TIMEOUT_S:
                    raise FreshError(f"no copy for {fresh_id.name!r} came within {_TIMEOUT_S} s", do=_SERVER)
                self._changed.wait(1)
        except FreshError:
            self._table.leave(fresh_id)
            raise

    def _check(self, fresh_id: ServiceId) -> None:
        self.raise_if_closing()
        error = self._errors.get(fresh_id)
        if error:
            raise error

    # -- in the background ----------------------------------------------------------------------------------------

    def _prepare(self, fresh_id: ServiceId, spec: FreshSpec) -> None:
        try:
            template = self._templates.ensure(spec)
        except IsolateError as error:
            with self._changed:
                self._errors[fresh_id] = error
                self._changed.notify_all()
            return
        with self._changed:
            self._template[fresh_id] = template
            self._table.open(fresh_id)
            self._changed.notify_all()

    def _work(self) -> None:
        while (step := self._next_step()) is not None:
            try:
                self._carry_out(step)
            except (BackendError, EngineError) as error:
                if self._backend:
                    self._backend.close()
                    self._backend = None
                self._tell(step, error)
            # From its end on: a sweep that takes longer than the pause would leave no time for copies.
            if isinstance(step, DropOrphans):
                self._swept_at = self._clock.now()

    def _next_step(self) -> Create[ServiceId] | Drop | DropOrphans | None:
        with self._changed:
            while not self._is_closing:
                now = self._clock.now()
                # Without work as soon as it is time; with work a little later, or it would never be.
                # A step that the table has given has to be taken: it does not give it again.
                step = None if now >= self._swept_at + 2 * _SWEEP_S else self._table.next_step(now)
                if step is not None:
                    return step
                if now >= self._swept_at + _SWEEP_S:
                    return DropOrphans()
                self._changed.wait(_SWEEP_S)
        return None

    def _carry_out(self, step: Create[ServiceId] | Drop | DropOrphans) -> None:
        backend = self._backend = self._backend or self._open()
        match step:
            case Create(kind):
                name, began = next(self._names), self._clock.now()
                database = backend.create(self._template[kind], name)
                size_bytes = backend.size_bytes(self._template[kind])
                if size_bytes:  # large copies are in memory as a rule, which has no room for many that are ready
                    self._table.cap = max(1, min(self._table.cap, _MOST_BYTES // (size_bytes * self._workers)))
                with self._changed:
                    self._made_s.append(self._clock.now() - began)
                    self._database[name] = database
                    self._table.created(kind, name)
                    self._changed.notify_all()
            case Drop(name):
                backend.drop(name)
                self._database.pop(name, None)
            case DropOrphans():
                for name in self._makers.orphans(backend.databases()):
                    backend.drop(name)

    def _open(self) -> DataBackend:
        backend = self._open_backend()
        self._room = backend.room
        if backend.room is not None:
            # As many again may be in use.
            self._table.cap = max(1, min(self._table.cap, backend.room // (2 * self._workers)))
        return backend

    def _tell(self, step: Create[ServiceId] | Drop | DropOrphans, error: IsolateError) -> None:
        """Fail the tests that wait for a copy that cannot be made; for those that come later it is tried again."""
        if not isinstance(step, Create):
            return  # what was not dropped now is found by a later sweep, or goes with the container
        with self._changed:
            told = FreshError(f"no copy for {step.kind.name!r} could be made", found=str(error), do=_SERVER)
            self._table.failed(step.kind)
            self._failures.setdefault(step.kind, []).append(told)
            self._changed.notify_all()

    def _spawn(self, name: str, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
