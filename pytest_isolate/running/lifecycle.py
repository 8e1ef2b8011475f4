"""Start instances as parallel as their dependencies allow, hand them out, and let go of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError, IsolateError, StartError
from pytest_isolate.model.identity import Run
from pytest_isolate.planning.placement import Instance, InstanceKey, NetworkKey, Place
from pytest_isolate.running.addresses import Addresses
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.handle import Service
from pytest_isolate.running.images import Images, image_tag
from pytest_isolate.running.launching import Launcher, Running, label
from pytest_isolate.running.networks import Networks
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.running.watching import Watcher

# Measured on Docker 20.10: four containers created and started at once gain 1.7 x over one by one; more gain nothing
# and make each single one slower.
PARALLEL_STARTS = 4


class Closing(IsolateError):
    """The run ends while a service was still starting."""


class Lifecycle:
    """The instances of this process: started in threads of their own, handed out by `wait`."""

    def __init__(
        self,
        *,
        engine: Engine,
        run: Run,
        clock: Clock,
        timeline: Timeline,
        images: Images,
        networks: Networks,
        addresses: Addresses,
        launcher: Launcher,
        watcher: Watcher,
    ) -> None:
        self._engine = engine
        self._run = run
        self._clock = clock
        self._timeline = timeline
        self._images = images
        self._networks = networks
        self._addresses = addresses
        self._launcher = launcher
        self._watcher = watcher
        self._slots = threading.BoundedSemaphore(PARALLEL_STARTS)
        self._lock = threading.Lock()
        self._futures: dict[InstanceKey, Future[Running]] = {}
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()

    def start(self, instances: Iterable[Instance]) -> None:
        """Begin to start, in the background, those that are not started yet. What they need must come before them."""
        with self._lock:
            for instance in instances:
                if instance.key in self._futures or self._closing.is_set():
                    continue
                future: Future[Running] = Future()
                self._futures[instance.key] = future
                self._spawn(f"isolate-start-{instance.key.service}", self._run_start, instance, future)

    def wait(self, key: InstanceKey) -> Running:
        """The instance, once it is ready. Whoever asks for one that failed is told the same."""
        with self._lock:
            future = self._futures.get(key)
        if future is None:
            raise Closing(f"service {key.service} is not started any more: the run is ending")
        return future.result()

    def hand_out(self, key: InstanceKey) -> Service:
        """What a test gets, once the instance is ready."""
        running = self.wait(key)
        return Service(
            running.view,
            engine=self._engine,
            image=image_tag(running.spec),
            container_id=running.container_id,
            start_again=lambda: self._start_again(running),
        )

    def finish_places(self, has_ended: Callable[[Place], bool]) -> None:
        """Remove, in the background, what belongs to places that have ended."""
        with self._lock:
            futures = [self._futures.pop(key) for key in list(self._futures) if has_ended(key.place)]
            if futures:
                self._spawn("isolate-finish", self._finish, futures)

    def close(self, timeout_s: float) -> None:
        """Start nothing more, and wait until what is under way has noticed. Removing is the clean-up's business."""
        with self._lock:
            self._closing.set()
            threads = list(self._threads)
        deadline = self._clock.now() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline - self._clock.now()))

    def release_addresses(self) -> None:
        """Let go of every port and address. Call it when the containers are gone."""
        for running in self.ready():
            running.ports.release()
        self._addresses.close()

    def ready(self) -> tuple[Running, ...]:
        """The instances that are up at this moment."""
        with self._lock:
            futures = list(self._futures.values())
        return tuple(f.result() for f in futures if f.done() and not f.exception())

    def _spawn(self, name: str, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _run_start(self, instance: Instance, future: Future[Running]) -> None:
        try:
            future.set_result(self._start(instance))
        except EngineError as error:
            future.set_exception(self._named(instance, error))
        except BaseException as error:
            future.set_exception(error)

    def _start(self, instance: Instance) -> Running:
        """The story of one instance: image, dependencies, network, container, readiness."""
        subject = str(instance.key.service)
        with self._timeline.measure("image", subject):
            image = self._images.ensure(instance.spec)
        with self._timeline.measure("dependencies", subject):
            needed = self._wait_for_dependencies(instance)
        with self._slots:
            self._check_open()
            with self._timeline.measure("network", subject):
                network = self._join_network(instance, needed)
            with self._timeline.measure("create", subject):
                running = self._launcher.launch(instance, image, needed, network)
        try:
            with self._timeline.measure("ready", subject):
                self._watcher.wait_until_ready(running, running.started_at, self._check_open)
        except BaseException:
            self._launcher.undo(running)
            raise
        return running

    def _wait_for_dependencies(self, instance: Instance) -> dict[str, Running]:
        needed = {}
        for alias, key in instance.dependencies:
            try:
                needed[alias] = self.wait(key)
            except Closing:
                raise
            except IsolateError as error:
                what = f"was not started because it needs {alias!r}"
                raise StartError(label(instance, self._run), what, found=str(error)) from error
        return needed

    def _join_network(self, instance: Instance, needed: Mapping[str, Running]) -> str:
        network = self._networks.ensure(instance.network, self._room(instance.network))
        for alias, running in needed.items():
            if running.instance.network != instance.network:
                self._networks.attach(instance.network, network, running.container_id, alias)
        return network

    def _room(self, key: NetworkKey) -> int:
        """How many containers the network may have to hold: its own so far, and as many attached or yet to come."""
        with self._lock:
            return 2 * sum(NetworkKey(k.service.stack, k.place) == key for k in self._futures)

    def _start_again(self, running: Running) -> None:
        started_at = self._clock.time()
        self._engine.start_container(running.container_id)
        self._watcher.wait_until_ready(running, started_at, self._check_open)

    def _finish(self, futures: Collection[Future[Running]]) -> None:
        finished = [f.result() for f in futures if not f.exception()]
        for running in finished:
            self._launcher.undo(running)
        for key in {running.instance.network for running in finished}:
            with self._lock:
                # pytest may have come back to the place meanwhile: then its network is in use again.
                if any(NetworkKey(k.service.stack, k.place) == key for k in self._futures):
                    continue
                removals = (self._networks.forget(key), self._launcher.forget_volumes(key))
                self._addresses.release(key)
            for remove in removals:
                try:
                    remove()
                except EngineError:
                    continue  # the clean-up at the end finds it by its labels, tries again and reports

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise Closing("the run is ending")

    def _named(self, instance: Instance, error: EngineError) -> StartError:
        """An engine's error, told with the service's name and place."""
        named = StartError(
            label(instance, self._run),
            f"could not be started: {error.what}",
            tried=error.tried,
            found=error.found,
            do=error.do or f"it is declared at {instance.spec.location}",
        )
        named.__cause__ = error
        return named
