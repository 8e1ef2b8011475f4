"""The instances that this process uses: started in threads of their own, waited for, handed out, released."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from contextlib import suppress
from functools import partial
from itertools import chain

from pytest_isolate.errors import EngineError, IsolateError, PathError, StartError
from pytest_isolate.planning.placement import Instance, InstanceKey, Place
from pytest_isolate.planning.reset_order import dependents_of
from pytest_isolate.running.containers.controls import ContainerControls
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.memory import Memory, log_hints
from pytest_isolate.running.containers.running import InstanceObserver, RunningInstance, name_error
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.faults.target import Target
from pytest_isolate.running.images.images import image_tag
from pytest_isolate.running.instances.budget import BudgetKeeper, RunClosing, StartGate
from pytest_isolate.running.instances.external import ExternalHandle, ExternalServices
from pytest_isolate.running.instances.retained import Remover
from pytest_isolate.running.instances.starter import Starter
from pytest_isolate.running.readiness.watcher import Watcher
from pytest_isolate.running.testcontainers.modules import Modules, ModuleService

# How long starts that are under way may take before something that they may need is taken away.
_SETTLE_S = 60
# Threads that start instances. What a test or another start waits for has one at once, whatever their number.
_MOST_STARTING = 48


class Lifecycle:
    """A table of instances by key, filled in the background."""

    def __init__(
        self,
        context: RunContext,
        starter: Starter,
        external: ExternalServices,
        handles: Handles,
        remover: Remover,
        gate: StartGate,
        budget: BudgetKeeper,
        observers: Sequence[InstanceObserver],
    ) -> None:
        self._context = context
        self._starter = starter
        self._external = external
        self._handles = handles
        self._remover = remover
        self._gate = gate
        self._budget = budget
        self._observers = observers
        self._lock = threading.Lock()
        self._futures: dict[InstanceKey, Future[RunningInstance]] = {}
        self._queued: dict[InstanceKey, Instance] = {}  # those of the futures that no thread has taken yet
        self._starting = 0
        self._threads: list[threading.Thread] = []

    def start(self, instances: Iterable[Instance]) -> None:
        """Begin to start, in the background, those that are not started yet. What they need must come before them."""
        with self._lock:
            for instance in instances:
                if instance.key in self._futures or self._gate.is_closing:
                    continue
                self._futures[instance.key] = Future()
                self._queued[instance.key] = instance
                if self._starting < _MOST_STARTING:
                    self._start_queued(instance.key)

    def start_for(self, tests: Sequence[tuple[str, Sequence[Instance]]], later: Sequence[Instance] = ()) -> None:
        """Begin to start what the first of these tests needs, and what the others need that come after it.

        Networks of what still `later` tests have for themselves are made when the first one has all that it needs.
        """
        self._budget.expect(tests)
        for _, instances in tests:
            self.start(instances)
        if any(instance.key.place.node for instance in later):
            with self._lock:
                first = [
                    self._futures[i.key] for _, instances in tests[:1] for i in instances if i.key in self._futures
                ]
                self._spawn("isolate-networks", self._make_networks_ahead, first, later)

    def wait(self, key: InstanceKey) -> RunningInstance:
        """Return the instance, once it is ready. All who ask for one that failed get the same error."""
        with self._lock:
            future = self._futures.get(key)
            if key in self._queued:
                self._start_queued(key)
        if future is None:
            raise _ending(key)
        return future.result()

    def are_settled(self, keys: Iterable[InstanceKey]) -> bool:
        """True if all of these are ready, or never will be: waiting for one ends at once."""
        with self._lock:
            return all(key in self._futures and self._futures[key].done() for key in keys)

    def wait_for_one(self, groups: Collection[Collection[InstanceKey]]) -> None:
        """Come back as soon as all of one of these groups are settled, or nothing is under way."""
        while not any(map(self.are_settled, groups)):
            with self._lock:
                known = [self._futures[key] for key in {*chain(*groups)} if key in self._futures]
            pending = [future for future in known if not future.done()]
            if not pending:
                return
            wait(pending, return_when=FIRST_COMPLETED)

    def handle(self, key: InstanceKey) -> Service:
        """Return what a test gets, once the instance is ready."""
        return self.handle_of(self.wait(key))

    def handle_of(self, running: RunningInstance) -> Service:
        """Return the handle of an instance that is ready."""
        return self._handles.of(running)

    def failed(self) -> tuple[RunningInstance, ...]:
        """The instances that have ended with an error since they were ready, where tests cannot notice it."""
        return tuple(running for running in self.ready() if self._handles.watcher.has_failed(running))

    def failure_error(self, running: RunningInstance) -> StartError:
        """Return the error of such an instance."""
        return self._handles.watcher.failure_error(running)

    def log_hints(self, keys: Collection[InstanceKey]) -> list[str]:
        """Return what to do about those of these instances whose logs say what their tests cannot know."""
        return log_hints(self._context.engine, (r for r in self.ready() if r.instance.key in keys))

    def end_places(self, has_ended: Callable[[Place], bool]) -> None:
        """Remove, in the background, what belongs to places that have ended."""
        with self._lock:
            ended = {key: self._futures.pop(key) for key in list(self._futures) if has_ended(key.place)}
            futures = [future for key, future in ended.items() if not self._queued.pop(key, None)]
            if futures:
                self._spawn("isolate-finish", self._finish, futures)

    def discard(self, key: InstanceKey) -> tuple[InstanceKey, ...]:
        """Remove an instance, and with it all that need it; asked for again, each is started anew."""
        with self._lock:
            futures = dict(self._futures)
        # What is on its way up may need it.
        wait(futures.values(), timeout=_SETTLE_S)
        running = {r.instance.key: r for r in self.ready()}
        gone = [i.key for i in dependents_of(key, [r.instance for r in running.values()])]
        with self._lock:
            for gone_key in gone:
                self._futures.pop(gone_key, None)
        for gone_key in gone:
            self._remover.discard(running[gone_key])
        return tuple(gone)

    def close(self, timeout_s: float) -> None:
        """Start nothing more, and wait until what is under way has noticed. Removing is the clean-up's business."""
        with self._lock:
            self._gate.close()
            for key in self._queued:
                self._futures[key].set_exception(_ending(key))
            self._queued.clear()
            threads = list(self._threads)
        deadline = self._context.clock.now() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline - self._context.clock.now()))

    def release_addresses(self) -> None:
        """Let go of every port and address. Call it when the containers are gone."""
        self._remover.release_addresses(self.ready())

    def ready(self) -> tuple[RunningInstance, ...]:
        """The instances that are up at this moment, without those that ran already."""
        return tuple(running for running in self.reachable() if not running.spec.external)

    def reachable(self) -> tuple[RunningInstance, ...]:
        """The instances that can be used at this moment."""
        with self._lock:
            futures = list(self._futures.values())
        return tuple(f.result() for f in futures if f.done() and not f.exception())

    def _spawn(self, name: str, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _start_queued(self, key: InstanceKey) -> None:
        """Start what is queued in a thread of its own, which goes on with the rest of the queue. Call with the lock."""
        self._starting += 1
        self._spawn(f"isolate-start-{key.service}", self._work, self._futures[key], self._queued.pop(key))

    def _work(self, future: Future[RunningInstance], instance: Instance) -> None:
        while True:
            self._fill(future, instance)
            with self._lock:
                if not self._queued or self._starting > _MOST_STARTING:
                    self._starting -= 1
                    return
                key = next(iter(self._queued))
                future, instance = self._futures[key], self._queued.pop(key)

    def _fill(self, future: Future[RunningInstance], instance: Instance) -> None:
        try:
            running = self._provide(instance)
        except BaseException as error:
            future.set_exception(error)
            return
        future.set_result(running)
        handle = self._handles.of(running)
        for observer in self._observers:
            observer.available(running, handle)

    def _provide(self, instance: Instance) -> RunningInstance:
        try:
            if instance.spec.external:
                return self._external.attach(instance)
            return self._starter.start(instance, self.wait)
        except (EngineError, PathError) as error:
            raise name_error(instance, self._context.run, error) from error
        except UnicodeEncodeError as error:
            odd = EngineError("a text of it is no Unicode", found=str(error), do="write it without half characters")
            raise name_error(instance, self._context.run, odd) from error

    def _make_networks_ahead(self, first: Collection[Future[RunningInstance]], later: Sequence[Instance]) -> None:
        wait(first)
        with suppress(IsolateError):  # the start of each tells it in full
            self._starter.make_networks_ahead(later)

    def _finish(self, futures: Collection[Future[RunningInstance]]) -> None:
        networks = set()
        # Each as soon as it is up: another that is still starting may be waiting for its room.
        for future in as_completed(futures):
            if future.exception() or future.result().spec.external:
                continue
            networks.add(future.result().instance.network)
            self._remover.release(future.result())
        for key in networks:
            with self._lock:
                # pytest may have come back to the place meanwhile: then its network is in use again.
                if any(k.network == key for k in self._futures):
                    continue
                remove = self._remover.forget_network(key)
            remove()


def _ending(key: InstanceKey) -> RunClosing:
    return RunClosing(f"service {key.service} is not started any more: the run is ending")


class Handles:
    """Makes handles."""

    def __init__(
        self,
        context: RunContext,
        watcher: Watcher,
        gate: StartGate,
        modules: Modules,
        observers: Sequence[InstanceObserver],
    ) -> None:
        self._context = context
        self._memory = Memory(context)
        self.watcher = watcher
        self._gate = gate
        self._modules = modules
        self._observers = observers

    def of(self, running: RunningInstance) -> Service:
        """Return the handle of an instance that is ready."""
        if running.spec.external:
            return ExternalHandle(running.view)
        kind = partial(ModuleService, module=self._modules.of(running)) if running.spec.module else Service
        return kind(
            running.view, self._controls(running), image=image_tag(running.spec), container_id=running.container_id
        )

    def _controls(self, running: RunningInstance) -> ContainerControls:
        run = self._context.run
        target = Target(
            service=running.spec.name,
            engine=self._context.engine,
            container_id=running.container_id,
            image=image_tag(running.spec),
            # What is made for a fault goes with this run, also where the service is kept.
            labels=run.labels(),
            name_helper=lambda word: run.resource_name(running.spec.name, "fault", word),
        )
        return ContainerControls(target, partial(self._before_end, running), partial(self._start_again, running))

    def _before_end(self, running: RunningInstance) -> None:
        self.watcher.exit_watcher.note_known_end(running.container_id)
        self._memory.hold(running)

    def _start_again(self, running: RunningInstance) -> None:
        self._memory.check(running)
        self.watcher.outputs.listen(running.container_id, running.spec)
        started_at = self._context.clock.time()
        try:
            self._context.engine.start_container(running.container_id)
        except BaseException:
            self.watcher.outputs.drop(running.container_id)
            raise
        self._memory.release(running)
        try:
            self.watcher.wait_until_ready(running, started_at, self._gate.raise_if_closing, is_first=False)
        except StartError:
            self.watcher.exit_watcher.note_known_end(running.container_id)
            raise
        for observer in self._observers:
            observer.restarted(running)
