"""Hands out fresh copies: one keeper for each instance that this process copies, one lease for each test's copy."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress

from msgspec import Struct

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError, FreshError, PathError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.service import Pristine, Scope, ServiceId
from pytest_isolate.planning.placement import InstanceKey, Place
from pytest_isolate.planning.plan import CopyDemand
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.running import InstanceObserver, RunningInstance
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.data.backends.base import BackendError, DataBackend, closed_on_failure
from pytest_isolate.running.data.backends.table import backend_of
from pytest_isolate.running.data.external_server import ExternalCopies, makers_of
from pytest_isolate.running.data.fresh_service import FreshService, build_handle
from pytest_isolate.running.data.names import CopyName
from pytest_isolate.running.data.pool import CopyPool
from pytest_isolate.running.data.templates import Templates
from pytest_isolate.running.ownership.domains import SharingDomains
from pytest_isolate.sharing.board import Board

# Copies that are there and not in use, of all processes that share an instance: some hundred MiB of disk.
MAX_IDLE_COPIES = 48


class Lease(Struct, frozen=True):
    """A copy in use: until its place ends, whether or not a test is connected to it."""

    pool: CopyPool
    name: str
    handle: FreshService


class FreshCopies(InstanceObserver):
    """The fresh copies that this process hands out."""

    def __init__(
        self,
        engine: Engine,
        run: Run,
        domains: SharingDomains,
        copies: Mapping[InstanceKey, tuple[CopyDemand, ...]],
        workers: int,
        clock: Clock,
        external_copies: Board,
    ) -> None:
        assert domains.shared.board is not None
        self._engine = engine
        self._run = run
        self._errors: Board = domains.shared.board
        self._copies = copies
        self._external_copies = ExternalCopies(engine, run, makers_of(external_copies, clock))
        self._workers = workers
        self._clock = clock
        self._lock = threading.Lock()
        self._pools: dict[InstanceKey, CopyPool] = {}
        self._closed: list[CopyPool] = []
        self._kept: set[InstanceKey] = set()
        self._leases: dict[tuple[ServiceId, Place, InstanceKey], Lease] = {}
        self._opened: dict[str, DataBackend] = {}
        # A generator could not be asked by several keepers at once.
        self._names: Iterator[str] = map(lambda n: str(CopyName(run.run_id, run.worker, n)), itertools.count(1))  # noqa: C417

    def ready(self, running: RunningInstance) -> None:
        """Put the state of a service that has just become ready aside, before any test is given it."""
        spec = running.spec
        is_wanted = running.instance.key in self._copies or isinstance(spec.reset, Pristine)
        if spec.copies is None or not (is_wanted or running.domain.is_kept):
            return
        if spec.external:
            self._external_copies.register(running)
        try:
            backend = backend_of(running).open(self._engine, running)
            with closed_on_failure(backend):
                backend.save_pristine()
        except (BackendError, EngineError) as error:
            if not is_wanted:
                return  # a later run may ask for copies of what is kept, or may not
            raise EngineError("its first state could not be put aside", found=str(error)) from error
        with self._lock:
            self._opened[running.container_id] = backend  # to open one costs more than all that it is used for here

    def open_backend(self, running: RunningInstance) -> DataBackend:
        """A client of an instance's server that is the caller's own; the one that is open already, if there is one."""
        with self._lock:
            backend = self._opened.pop(running.container_id, None)
        return backend or backend_of(running).open(self._engine, running)

    def is_copied(self, key: InstanceKey) -> bool:
        """True where tests are known to ask for copies of an instance's data."""
        return key in self._copies

    def available(self, running: RunningInstance, handle: Service) -> None:
        """Make templates and copies of an instance that is ready, if tests will ask for them."""
        if running.instance.key in self._copies:
            with suppress(PathError):  # told to the test that asks for a copy
                self._pool(running, handle)

    def handle(
        self, want: CopyDemand, place: Place, running: RunningInstance, base: Service, test: str
    ) -> FreshService:
        """Return a place's own copy of an instance, the same as long as the place lasts."""
        key = (want.fresh_id, place, running.instance.key)
        with self._lock:
            lease = self._leases.get(key)
        if lease is None:
            pool = self._pool(running, base)
            pool.expect(want)
            name, database = self._take(pool, want.fresh_id, test)
            lease = Lease(pool, name, build_handle(want.spec.name, base, running.view, database))
            with self._lock:
                self._leases[key] = lease
        return lease.handle

    def retain(self, fresh_id: ServiceId, place: Place, key: InstanceKey, until: float) -> ServiceView | None:
        """Have a place's copy stay until then, as long as its server does; return its view, None where it cannot."""
        with self._lock:
            lease = self._leases.get((fresh_id, place, key))
        if lease is None or not lease.pool.retain(lease.name, until):
            return None
        return lease.handle._view

    def end_places(self, has_ended: Callable[[Place], bool]) -> None:
        """Take back the copies of places that have ended; they are dropped in the background."""

        def is_over(place: Place) -> bool:
            # What lives for the whole session ends with it: see close().
            return place.scope is not Scope.SESSION and has_ended(place)

        with self._lock:
            leases = [self._leases.pop(key) for key in list(self._leases) if is_over(key[1])]
            pools = [self._pools.pop(key) for key in list(self._pools) if is_over(key.place)]
        for lease in leases:
            lease.pool.give_back(lease.name)
        self._close_behind(pools)

    def forget(self, keys: Collection[InstanceKey]) -> None:
        """Forget instances that are gone, and with them every copy on them."""
        with self._lock:
            for lease_key in [k for k in self._leases if k[2] in keys]:
                del self._leases[lease_key]
            pools = [self._pools.pop(key) for key in keys if key in self._pools]
        self._close_behind(pools)

    def close(self, timeout_s: float) -> None:
        """Make and hand out no more copies; on servers that go on, drop all of them."""
        with self._lock:
            pools, self._pools = self._pools, {}
            opened, self._opened = self._opened, {}
        for key, pool in pools.items():
            self._closed.append(pool)
            pool.close(timeout_s, drop=key in self._kept)
        self._external_copies.unregister()
        for backend in opened.values():
            backend.close()

    def figures(self) -> dict[str, list[float]]:
        """Of each kind: takes, hits, seconds that copies took, and their number."""
        total: dict[str, list[float]] = {}
        for pool in [*self._pools.values(), *self._closed]:
            for name, numbers in pool.figures().items():
                total[name] = [sum(pair) for pair in zip(total.get(name, [0.0] * len(numbers)), numbers, strict=True)]
        return total

    def _close_behind(self, pools: Iterable[CopyPool]) -> None:
        for pool in pools:
            self._closed.append(pool)
            threading.Thread(target=pool.close, args=(0,), kwargs={"drop": False}, daemon=True).start()

    def _take(self, pool: CopyPool, fresh_id: ServiceId, test: str) -> tuple[str, str]:
        try:
            return pool.take(fresh_id)
        except FreshError as error:
            if pool.failure(fresh_id) is None:
                raise
            raise self._told_once(fresh_id, error, test) from None

    def _told_once(self, fresh_id: ServiceId, error: FreshError, test: str) -> FreshError:
        """The whole text for the first test of the run that meets it, one line for all others."""
        code = f"told {error}"
        with self._errors.claim(code, lambda: None):
            told = self._errors.read(code)
            if told is None or told["test"] == test:
                self._errors.publish(code, {"test": test})
                return error
        return FreshError(f"the init of {fresh_id.name!r} has failed; {told['test']} tells how")

    def _pool(self, running: RunningInstance, base: Service) -> CopyPool:
        key, domain = running.instance.key, running.domain
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                if key not in self._copies and not domain.is_kept:
                    raise FreshError(
                        f"no test was known to need fresh copies of {running.spec.name!r}, so its first state was not "
                        "put aside",
                        found="the fixture is asked for by getfixturevalue() only, which cannot be known beforehand",
                        do="name it: @pytest.mark.usefixtures(...) on one of the tests",
                    )
                pool = self._pools[key] = self._build_pool(running, base)
                if domain.is_kept:
                    self._kept.add(key)
                pool.start()
        return pool

    def _build_pool(self, running: RunningInstance, base: Service) -> CopyPool:
        board = running.domain.board or self._errors
        makers = makers_of(board, self._clock)
        makers.register(self._run.run_id, self._run.worker)
        workers = 1 if running.domain.board is None else self._workers

        def raise_if_closing() -> None:
            pool.raise_if_closing()

        templates = Templates(self._engine, running, base, self._run.run_id, board, self._errors, raise_if_closing)
        pool = CopyPool(
            wanted=self._copies.get(running.instance.key, ()),
            workers=workers,
            cap=max(2, MAX_IDLE_COPIES // workers),
            names=self._names,
            open_backend=lambda: self.open_backend(running),
            templates=templates,
            makers=makers,
            clock=self._clock,
        )
        return pool
