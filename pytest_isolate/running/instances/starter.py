"""One instance that is started: image, what it needs, room in the budget, network, container, readiness."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from pytest_isolate.engine.api import Engine, ImageFacts
from pytest_isolate.errors import IsolateError, StartError
from pytest_isolate.model.identity import Run
from pytest_isolate.planning.placement import Instance, InstanceKey
from pytest_isolate.running.containers.launcher import Launcher
from pytest_isolate.running.containers.running import RunningInstance, StartRequest, choose_password, describe_instance
from pytest_isolate.running.images.images import Images, image_tag
from pytest_isolate.running.images.snapshots import Snapshot, Snapshots
from pytest_isolate.running.instances.budget import BudgetKeeper
from pytest_isolate.running.instances.external import check_reachable, hosts_of
from pytest_isolate.running.instances.retained import RetainedInstances
from pytest_isolate.running.network.networks import Networks
from pytest_isolate.running.network.ports import HeldPorts
from pytest_isolate.running.ownership.domains import SharingDomain
from pytest_isolate.running.readiness.watcher import Watcher
from pytest_isolate.running.timeline import Timeline

# Measured on Docker 20.10: four containers created and started at once gain 1.7 x over one by one; more gain nothing
# and make each single one slower.
PARALLEL_STARTS = 4

Wait = Callable[[InstanceKey], RunningInstance]


class RunClosing(IsolateError):
    """The run ends while a service was still starting."""


class Starter:
    """Starts instances, a few at once, until the run ends. Who starts which is agreed on before."""

    def __init__(
        self,
        *,
        engine: Engine,
        run: Run,
        timeline: Timeline,
        images: Images,
        snapshots: Snapshots | None,
        networks: Networks,
        launcher: Launcher,
        watcher: Watcher,
        budget: BudgetKeeper,
        require_guard: Callable[[], None],
        keep_held: Callable[[HeldPorts], None],
        save_pristine: Callable[[RunningInstance], None],
        retained: RetainedInstances,
    ) -> None:
        self._engine = engine
        self._run = run
        self._timeline = timeline
        self._images = images
        self._snapshots = snapshots
        self._networks = networks
        self._launcher = launcher
        self._watcher = watcher
        self._budget = budget
        self._require_guard = require_guard
        self._keep_held = keep_held
        self._save_pristine = save_pristine
        self._retained = retained
        self._slots = threading.BoundedSemaphore(PARALLEL_STARTS)
        self._closing = threading.Event()
        self._removals: dict[InstanceKey, Future[None]] = {}

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is started."""
        return self._closing.is_set()

    def stop(self) -> None:
        """Start nothing more; what is under way ends between two requests with Closing."""
        self._closing.set()

    def raise_if_closing(self) -> None:
        """Closing where nothing more is started."""
        if self._closing.is_set():
            raise RunClosing("the run is ending")

    def start(self, instance: Instance, domain: SharingDomain, wait: Wait, code: str = "") -> RunningInstance:
        """The story of one instance. `wait` gives what it needs; `code` is what its parts are known by."""
        subject = str(instance.key.service)
        with self._networks.preparing(instance, domain, self.raise_if_closing):
            image = self.find_image(instance)
            snapshot = self.identify(instance, image)
        with self._timeline.measure("dependencies", subject):
            needed = self.wait_for_needed(instance, wait)
        check_reachable(instance, needed, self._engine, self._run)
        with self._timeline.measure("budget", subject):
            self._budget.acquire(instance, self.raise_if_closing)
        try:
            with self._timeline.measure("start", subject), self._choose_tag(instance, snapshot) as tag:
                start = StartRequest(
                    instance=instance,
                    domain=domain,
                    image=image,
                    tag=tag,
                    password=choose_password(instance, domain, snapshot),
                    needed=needed,
                    code=code,
                    extra_hosts=hosts_of(needed),
                )
                return self._launch(start, snapshot)
        except BaseException:
            undone = self._removals.pop(instance.key, None)
            if undone:
                undone.add_done_callback(lambda _: self._budget.release(instance))
            else:
                self._budget.release(instance)
            raise

    def find_image(self, instance: Instance) -> ImageFacts:
        """What its image is; fetched or built where it is not there."""
        with self._timeline.measure("image", str(instance.key.service)):
            return self._images.ensure(instance.spec)

    def identify(self, instance: Instance, image: ImageFacts) -> Snapshot | None:
        """The snapshot that it has or could have; None where there are to be none."""
        return (
            self._snapshots.identify(instance.spec, instance.key.service.stack.name, image) if self._snapshots else None
        )

    def wait_for_needed(self, instance: Instance, wait: Wait) -> dict[str, RunningInstance]:
        """What it needs, by the names that it has there, once it is ready; StartError where it cannot be."""
        needed = {}
        for alias, key in instance.dependencies:
            try:
                needed[alias] = wait(key)
            except RunClosing:
                raise
            except IsolateError as error:
                what = f"was not started because it needs {alias!r}"
                raise StartError(describe_instance(instance, self._run), what, found=str(error)) from error
        return needed

    def _launch(self, start: StartRequest, snapshot: Snapshot | None) -> RunningInstance:
        """Network, container, readiness, and the snapshot that is not there yet; what fails is undone at once."""
        subject = str(start.instance.key.service)
        with self._slots:
            self.raise_if_closing()
            with self._timeline.measure("network", subject):
                network_id = self._join_network(start)
                # A network that a run leaves without a guardian goes with the next run's sweep; a container may not.
                self._require_guard()
            with self._timeline.measure("create", subject):
                running = self._launcher.launch(start, network_id)
        try:
            self._keep_held(running.ports)
            with self._timeline.measure("ready", subject):
                self._watcher.wait_until_ready(running, running.started_at, self.raise_if_closing)
            if self._snapshots and snapshot and start.tag != snapshot.tag:
                with self._timeline.measure("snapshot", subject):
                    self._snapshots.save(snapshot, running.container_id)
            self._save_pristine(running)
        except BaseException as error:
            if isinstance(error, RunClosing) or not self._retained.retain_failed(running):
                self._removals[start.instance.key] = self._undo(running)
            raise
        return running

    def _undo(self, running: RunningInstance) -> Future[None]:
        """Remove what has failed, in the background: the engine takes its time, and the error need not wait for it."""
        undone: Future[None] = Future()

        def undo() -> None:
            self._launcher.remove(running)
            undone.set_result(None)

        threading.Thread(target=undo, name="isolate-undo", daemon=True).start()
        return undone

    @contextmanager
    def _choose_tag(self, instance: Instance, snapshot: Snapshot | None) -> Iterator[str]:
        """The image to start from: the snapshot where there is one, which whoever starts first makes for all others."""
        if self._snapshots is None or snapshot is None:
            yield image_tag(instance.spec)
        elif self._snapshots.wait_until_available(snapshot, self.raise_if_closing):
            yield snapshot.tag
        else:
            try:
                yield image_tag(instance.spec)
            except BaseException:
                self._snapshots.release(snapshot)
                raise

    def _join_network(self, start: StartRequest) -> str:
        network_id = self._networks.ensure(start.instance, start.domain, self.raise_if_closing)
        for alias, running in start.needed.items():
            if running.network_id != network_id and not running.spec.external:
                self._networks.attach(network_id, running.container_id, [alias, *running.spec.container.aliases])
        return network_id
