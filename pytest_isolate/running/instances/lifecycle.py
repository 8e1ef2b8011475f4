"""The instances that this process uses: provided in threads of their own, waited for, handed out, let go of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, as_completed, wait
from functools import partial

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError
from pytest_isolate.planning.placement import Instance, InstanceKey, Place
from pytest_isolate.planning.reset_order import dependents_of
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.memory import advise_if_full
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.images.images import image_tag
from pytest_isolate.running.instances.external import ExternalHandle
from pytest_isolate.running.instances.provider import Provider
from pytest_isolate.running.instances.retained import RetainedInstances
from pytest_isolate.running.instances.starter import RunClosing
from pytest_isolate.running.network.addresses import Addresses
from pytest_isolate.running.network.networks import Networks
from pytest_isolate.running.network.volumes import Volumes
from pytest_isolate.running.testcontainers.module_service import ModuleService
from pytest_isolate.running.testcontainers.modules import Modules

# A server goes on to say so with each attempt.
_LOG_LINES = 50
# How long starts that are under way may take before something that they may need is taken away.
_SETTLE_S = 60


class Lifecycle:
    """A table of instances by key, filled in the background."""

    def __init__(
        self,
        *,
        engine: Engine,
        clock: Clock,
        networks: Networks,
        addresses: Addresses,
        volumes: Volumes,
        provider: Provider,
        on_ready: Callable[[RunningInstance, Service], None],
        retained: RetainedInstances,
        modules: Modules,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._networks = networks
        self._addresses = addresses
        self._volumes = volumes
        self._provider = provider
        self._on_ready = on_ready
        self._retained = retained
        self._modules = modules
        self._lock = threading.Lock()
        self._futures: dict[InstanceKey, Future[RunningInstance]] = {}
        self._threads: list[threading.Thread] = []

    def start(self, instances: Iterable[Instance]) -> None:
        """Begin to start, in the background, those that are not started yet. What they need must come before them."""
        with self._lock:
            for instance in instances:
                if instance.key in self._futures or self._provider.is_closing:
                    continue
                future: Future[RunningInstance] = Future()
                self._futures[instance.key] = future
                self._spawn(f"isolate-start-{instance.key.service}", self._provide, instance, future)

    def start_for(self, tests: Sequence[tuple[str, Sequence[Instance]]]) -> None:
        """Begin to start what the first of these tests needs, and what the others need that come after it."""
        self._provider.expect(tests)
        for _, instances in tests:
            self.start(instances)

    def wait(self, key: InstanceKey) -> RunningInstance:
        """The instance, once it is ready. Whoever asks for one that failed is told the same."""
        with self._lock:
            future = self._futures.get(key)
        if future is None:
            raise RunClosing(f"service {key.service} is not started any more: the run is ending")
        return future.result()

    def handle(self, key: InstanceKey) -> Service:
        """What a test gets, once the instance is ready."""
        return self.handle_of(self.wait(key))

    def handle_of(self, running: RunningInstance) -> Service:
        """The handle of an instance that is ready."""
        if running.spec.external:
            return ExternalHandle(running.view, self._engine)
        kind = partial(ModuleService, module=self._modules.of(running)) if running.spec.module else Service
        return kind(
            running.view,
            engine=self._engine,
            image=image_tag(running.spec),
            container_id=running.container_id,
            hold_data=lambda: self._provider.hold_data(running),
            start_again=lambda: self._provider.start_again(running),
            faults=self._provider.faults_of(running),
        )

    def log_hints(self, keys: Collection[InstanceKey]) -> list[str]:
        """What to do about those of these instances whose logs say what their tests cannot know."""
        texts = []
        for running in self.ready():
            if running.instance.key in keys and running.memory_folders:
                try:
                    text = self._engine.read_logs(running.container_id, tail=_LOG_LINES)
                except EngineError:
                    continue  # the test's own error tells more
                texts.append(advise_if_full(text, running))
        return [text for text in texts if text]

    def end_places(self, has_ended: Callable[[Place], bool]) -> None:
        """Remove, in the background, what belongs to places that have ended."""
        with self._lock:
            futures = [self._futures.pop(key) for key in list(self._futures) if has_ended(key.place)]
            if futures:
                self._spawn("isolate-finish", self._finish, futures)

    def discard(self, key: InstanceKey) -> tuple[InstanceKey, ...]:
        """Remove an instance, and with it all that need it: whoever asks for one of these next has it started anew."""
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
            self._provider.discard(running[gone_key])
        return tuple(gone)

    def close(self, timeout_s: float) -> None:
        """Start nothing more, and wait until what is under way has noticed. Removing is the clean-up's business."""
        with self._lock:
            self._provider.stop()
            threads = list(self._threads)
        deadline = self._clock.now() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline - self._clock.now()))

    def release_addresses(self) -> None:
        """Let go of every port and address. Call it when the containers are gone."""
        for running in self.ready():
            running.ports.release()
        self._retained.release_ports()
        self._addresses.close()

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

    def _provide(self, instance: Instance, future: Future[RunningInstance]) -> None:
        try:
            running = self._provider.get_or_start(instance, self.wait)
        except BaseException as error:
            future.set_exception(error)
            return
        future.set_result(running)
        self._on_ready(running, self.handle_of(running))

    def _finish(self, futures: Collection[Future[RunningInstance]]) -> None:
        finished = []
        # Each as soon as it is up: another that is still starting may be waiting for its room.
        for future in as_completed(futures):
            if not future.exception():
                if future.result().spec.external:
                    continue
                finished.append(future.result())
                if not self._retained.is_retained(future.result()):
                    self._provider.release(future.result())
        for key in {running.instance.network for running in finished}:
            with self._lock:
                # pytest may have come back to the place meanwhile: then its network is in use again.
                if any(k.network == key for k in self._futures):
                    continue
                removals = (self._networks.forget(key), self._volumes.forget(key))
                if self._retained.is_left(key):
                    continue
                self._addresses.release(key)
            for remove in removals:
                try:
                    remove()
                except EngineError:
                    continue  # the clean-up at the end finds it by its labels, tries again and reports
