"""A container engine in memory. The contract suite in tests/engine keeps it honest."""

from __future__ import annotations

import itertools
import os
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fakes.container import FakeContainer, Files
from fakes.images import FakeImage, build, image_id
from fakes.journal import Journal
from fakes.programs import IMAGE
from fakes.sessions import FakeSession
from pytest_isolate.engine.api import (
    DEFAULT_SUBNETS,
    BinaryExecResult,
    BuildRequest,
    ContainerRequest,
    ContainerState,
    ContainerUsage,
    EngineFacts,
    Event,
    ExecResult,
    ImageFacts,
    Labelled,
    LogLine,
    PathFacts,
    PathOwner,
    Progress,
    ProgressCallback,
    UsageCounters,
)
from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.engine.docker.network_api import create_on_one_of, free_subnets, ordered_name, prefix_for
from pytest_isolate.engine.docker.pull_errors import Pull, pull_failed
from pytest_isolate.errors import EngineError, EngineUnreachable, ObjectNotFound

JOURNAL_VARIABLE = "FAKE_ENGINE_JOURNAL"
PULLABLE = "registry.invalid/pullable:1"


OnCall = Callable[["FakeEngine", str], None]


@dataclass(eq=False)
class FakeNetwork:
    """A network: its members are containers with the names that they go by there."""

    name: str
    subnet: str
    labels: Mapping[str, str]
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(eq=False)
class FakeVolume:
    """A volume: its content, and whether it was made for one container only."""

    labels: Mapping[str, str]
    files: Files = field(default_factory=dict)


HOST_ADDRESS_VARIABLE = "FAKE_HOST_ADDRESS"
"""Where the host is for containers; without it they share its loopback, as the programs of the fake engine do."""


class FakeEvents:
    """Deaths, as they happen."""

    def __init__(self, labels: Mapping[str, str], forget: Callable[[FakeEvents], None]) -> None:
        self.labels = labels
        self.queue: queue.Queue[Event | Exception | None] = queue.Queue()
        self._forget = forget

    def __iter__(self) -> Iterator[Event]:
        while True:
            event = self.queue.get()
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event

    def close(self) -> None:
        self._forget(self)
        self.queue.put(None)


class FakeLogTail:
    """A log that is being followed."""

    def __init__(self, container: FakeContainer, tail: int) -> None:
        self._container = container
        self._from = max(0, len(container.read_log(None, 0).splitlines()) - tail)

    def read_to_end(self, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        while self._container.is_running:
            if time.monotonic() > deadline:
                raise EngineError("a container's log could not be followed", found="timed out")
            time.sleep(0.001)
        return "".join(self._container.read_log(None, 0).splitlines(keepends=True)[self._from :])

    def close(self) -> None:
        pass


class FakeOutput:
    """What a container writes from its next start on."""

    def __init__(self, container: FakeContainer) -> None:
        self._container = container
        self._from = len(container.log)
        self._last_end = container.ended_at
        self._is_closed = False

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        has_ended = False
        while not self._is_closed and not has_ended:
            has_ended = self._container.ended_at != self._last_end
            written = self._container.log[self._from :]
            self._from += len(written)
            for _, stream, text in written:
                yield 1 if stream == "stdout" else 2, text.encode()
            time.sleep(0.001)

    def close(self) -> None:
        self._is_closed = True


class FakeEngine:
    """The Engine protocol without a daemon.

    `go_away()` makes every call fail as if the daemon had ended, `come_back()` ends that. `on_call` is called with each
    call's name before it is carried out, so that a test can act in the middle of a run.
    """

    def __init__(self, journal: Journal | None = None, on_call: OnCall | None = None) -> None:
        self._journal = journal
        self._on_call = on_call
        self._lock = threading.RLock()
        self._is_away = False
        self._numbers = itertools.count(1)
        base = FakeImage(image_id=image_id(IMAGE))
        self.images = {IMAGE: base}
        self.untagged: dict[str, FakeImage] = {}
        self.pullable = {PULLABLE: FakeImage(image_id=image_id(PULLABLE))}
        self.networks: dict[str, FakeNetwork] = {}
        self.volumes: dict[str, FakeVolume] = {}
        self.containers: dict[str, FakeContainer] = {}
        self._streams: list[FakeEvents] = []

    # -- what tests do to it --------------------------------------------------------------------------------------

    def go_away(self) -> None:
        with self._lock:
            self._is_away = True
            for stream in self._streams:
                stream.queue.put(_unreachable())

    def come_back(self) -> None:
        self._is_away = False

    @contextmanager
    def _asked(self, name: str, *args: object) -> Iterator[None]:
        if self._journal:
            self._journal.write(call=name, args=args)
        if self._on_call:
            self._on_call(self, name)
        if self._is_away:
            raise _unreachable()
        with self._lock:
            yield

    # -- the protocol ---------------------------------------------------------------------------------------------

    commands = DockerCommands()

    def facts(self) -> EngineFacts:
        with self._asked("facts"):
            return EngineFacts(name="Fake", version="1.0", address="fake://", is_local=True)

    def close(self) -> None:
        """Note down what is left, and end all that would go on without us."""
        if self._journal:
            left = {"containers": list(self.containers), "volumes": list(self.volumes), "networks": list(self.networks)}
            self._journal.write(left=left)
        for stream in list(self._streams):
            stream.close()
        for container in list(self.containers.values()):
            if container.is_running:
                container.kill()
            container.discard()

    def find_image(self, image: str) -> ImageFacts | None:
        with self._asked("find_image", image):
            by_id = {one.image_id: one for one in self.images.values()}
            found = self.images.get(image) or by_id.get(image)
            return ImageFacts(image_id=found.image_id, health_command=found.health_command) if found else None

    def pull_image(self, image: str, tell: ProgressCallback, platform: str | None = None) -> ImageFacts:
        with self._asked("pull_image", image, *([platform] if platform else [])):
            if image not in self.pullable:
                raise pull_failed(Pull(image, platform), "manifest unknown")
            tell(Progress(text="pulling", done=1 << 20, total=1 << 22, unit="bytes"))
            self.images[image] = self.pullable[image]
            return ImageFacts(image_id=self.images[image].image_id)

    def build_image(self, request: BuildRequest, tell: ProgressCallback) -> ImageFacts:
        with self._asked("build_image", request):
            before = self.images.get(request.tag)
            made = self.images[request.tag] = build(request, self.images, tell)
            if before:
                self.untagged[before.image_id] = before
            return ImageFacts(image_id=made.image_id, health_command=made.health_command)

    def host_address(self) -> str:
        with self._asked("host_address"):
            return os.environ.get(HOST_ADDRESS_VARIABLE, "127.0.0.1")

    def used_subnets(self) -> Sequence[str]:
        return [network.subnet for network in self.networks.values()]

    def create_network(
        self,
        name: str,
        labels: Mapping[str, str],
        *,
        capacity: int = 1,
        order: Sequence[int] = (),
        addresses: str = DEFAULT_SUBNETS,
    ) -> str:
        name, prefix = ordered_name(name, order), prefix_for(capacity)

        def create(subnet: str) -> str:
            with self._asked("create_network", name, subnet, labels):
                network_id = self._new_id()
                self.networks[network_id] = FakeNetwork(name, subnet, dict(labels))
                return network_id

        with self._lock:
            subnets = free_subnets(addresses, self.used_subnets(), prefix, random.Random())
            return create_on_one_of(subnets, create, f"a /{prefix} in {addresses}", self.commands.list_networks())

    def attach(self, network_id: str, container_id: str, aliases: Sequence[str]) -> None:
        with self._asked("attach", network_id, container_id, aliases):
            self._container(container_id)
            members = self._network(network_id).members
            members.setdefault(container_id, tuple(aliases))

    def detach(self, network_id: str, container_id: str) -> None:
        with self._asked("detach", network_id, container_id):
            if network_id in self.networks:
                self.networks[network_id].members.pop(container_id, None)

    def remove_network(self, network_id: str) -> None:
        with self._asked("remove_network", network_id):
            self.networks.pop(network_id, None)

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        with self._asked("create_volume", name, labels):
            self.volumes.setdefault(name, FakeVolume(dict(labels)))

    def remove_volume(self, name: str) -> None:
        with self._asked("remove_volume", name):
            if any(name in c.request.volumes for c in self.containers.values()):
                raise EngineError(f"volume {name} could not be removed", found=["volume is in use"])
            self.volumes.pop(name, None)

    def create_container(self, request: ContainerRequest) -> str:
        with self._asked("create_container", request):
            by_id = {known.image_id: known for known in self.images.values()}
            image = self.images.get(request.image) or by_id.get(request.image)
            if image is None:
                raise ObjectNotFound(f"container {request.name} could not be made", found=["No such image"])
            if any(c.request.name == request.name for c in self.containers.values()):
                raise EngineError(f"container {request.name} could not be made", found=["the name is already in use"])
            anonymous = tuple(self._new_id() for _ in image.volumes)
            for name in (*request.volumes, *anonymous):
                self.volumes.setdefault(name, FakeVolume({}))
            container_id = self._new_id()
            self.containers[container_id] = FakeContainer(
                container_id=container_id,
                request=request,
                volumes={name: self.volumes[name].files for name in request.volumes},
                default_command=image.command,
                files=dict(image.files),
                find_neighbour=self._find_neighbour,
                on_death=self._tell_death,
                anonymous_volumes=anonymous,
            )
            if request.network in self.networks:
                self.networks[request.network].members[container_id] = tuple(request.aliases)
            return container_id

    def dropped_limits(self) -> Sequence[str]:
        return ()

    def save_archive(self, container_id: str, path: str, file: Path, most_bytes: int) -> bool:
        with self._asked("save_archive", container_id, path, most_bytes):
            self._container(container_id).pack(path, file)
            return file.stat().st_size <= most_bytes

    def copy_into(self, container_id: str, archive: bytes | Iterable[bytes], folder: str = "/") -> None:
        content = archive if isinstance(archive, bytes) else b"".join(archive)
        with self._asked("copy_into", container_id, content, folder):
            self._container(container_id).unpack(content, folder)

    def find_path(self, container_id: str, path: str) -> PathFacts | None:
        with self._asked("find_path", container_id, path):
            return self._container(container_id).find_path(path)

    def read_owner(self, container_id: str, path: str) -> PathOwner:
        with self._asked("read_owner", container_id, path):
            self._container(container_id)
            return PathOwner()

    def start_container(self, container_id: str) -> None:
        with self._asked("start_container", container_id):
            container = self._container(container_id)
            if container.request.network:
                self._network(container.request.network)
            if not container.is_running:
                container.start()

    def stop_container(self, container_id: str, timeout_s: int) -> None:
        with self._asked("stop_container", container_id, timeout_s):
            container = self._container(container_id)
        if container.is_running:
            container.request_stop(timeout_s)

    def kill_container(self, container_id: str) -> None:
        with self._asked("kill_container", container_id):
            container = self._container(container_id)
        if container.is_running:
            container.kill()

    def pause_container(self, container_id: str) -> None:
        with self._asked("pause_container", container_id):
            container = self._container(container_id)
            if not container.is_running or container.is_paused:
                raise EngineError("a container could not be paused", found=["it is not running, or already paused"])
            container.pause()

    def unpause_container(self, container_id: str) -> None:
        with self._asked("unpause_container", container_id):
            container = self._container(container_id)
            if not container.is_paused:
                raise EngineError("a container could not be unpaused", found=["it is not paused"])
            container.unpause()

    def remove_container(self, container_id: str) -> None:
        with self._asked("remove_container", container_id):
            container = self.containers.get(container_id)
        if container is None:
            return
        if container.is_running:
            container.kill()
        container.discard()
        with self._lock:
            self.containers.pop(container_id, None)
            for network in self.networks.values():
                network.members.pop(container_id, None)
            for name in container.anonymous_volumes:
                self.volumes.pop(name, None)

    def inspect_container(self, container_id: str) -> ContainerState:
        with self._asked("inspect_container", container_id):
            container = self._container(container_id)
            return ContainerState(
                is_running=container.is_running,
                is_paused=container.is_paused,
                exit_code=None if container.is_running else container.exit_code,
                is_out_of_memory=container.is_out_of_memory,
                ports=dict(container.published),
                name=container.request.name,
                started_at=container.started_at,
                ended_at=container.ended_at,
            )

    def read_usage(self, container_id: str) -> ContainerUsage | None:
        with self._asked("read_usage", container_id):
            return self._container(container_id).usage()

    def read_counters(self, container_id: str) -> UsageCounters | None:
        return None  # its containers have no control groups

    def read_connections(self, container_id: str) -> str | None:
        ports = self._container(container_id).listeners
        return "".join(f"   {n}: 00000000:{port:04X} 00000000:0000 0A \n" for n, port in enumerate(ports)) or "sl\n"

    def read_logs(self, container_id: str, *, tail: int | None = None, since: float = 0, stream: str = "") -> str:
        with self._asked("read_logs", container_id, tail, since):
            return self._container(container_id).read_log(tail, since, stream)

    def follow_log(self, container_id: str, tail: int) -> FakeLogTail:
        with self._asked("follow_log", container_id, tail):
            return FakeLogTail(self._container(container_id), tail)

    def read_log_lines(self, container_id: str, since: float, tail: int | None = None) -> Iterator[LogLine]:
        with self._asked("read_log_lines", container_id, since, tail):
            lines = self._container(container_id).read_lines(since, tail)
        yield from lines

    def listen(self, container_id: str) -> FakeOutput:
        with self._asked("listen", container_id):
            return FakeOutput(self._container(container_id))

    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult:
        with self._asked("run_command", container_id, argv):
            container = self._container(container_id)
            if not container.is_running or container.is_paused:
                raise EngineError(
                    f"the command {argv[0]!r} could not be run in a container", found=["it is not running"]
                )
        return container.run(argv)

    def run_binary_command(self, container_id: str, argv: Sequence[str]) -> BinaryExecResult:
        result = self.run_command(container_id, argv)
        return BinaryExecResult(
            exit_code=result.exit_code, stdout=result.stdout.encode(), stderr=result.stderr.encode()
        )

    def open_session(self, container_id: str, argv: Sequence[str], env: Mapping[str, str]) -> FakeSession:
        with self._asked("open_session", container_id, argv):
            container = self._container(container_id)
            if not container.is_running or container.is_paused:
                raise EngineError(
                    f"the command {argv[0]!r} could not be run in a container", found=["it is not running"]
                )
        return container.open_session(argv, env)

    def list_containers(self, labels: Mapping[str, str]) -> Sequence[str]:
        with self._asked("list_containers", labels):
            return _matching(labels, ((i, c.request.labels) for i, c in self.containers.items()))

    def list_networks(self, labels: Mapping[str, str]) -> Sequence[str]:
        with self._asked("list_networks", labels):
            return _matching(labels, ((i, n.labels) for i, n in self.networks.items()))

    def list_volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        with self._asked("list_volumes", labels):
            return _matching(labels, ((name, v.labels) for name, v in self.volumes.items()))

    def list_images(self, label: str) -> Sequence[Labelled]:
        with self._asked("list_images", label):
            tagged = self.images.items()
            return [
                Labelled(kind="image", object_id=image.image_id, name=tag, labels=image.labels)
                for tag, image in tagged
                if label in image.labels
            ]

    def list_untagged_images(self) -> Sequence[str]:
        with self._asked("list_untagged_images"):
            tagged = {image.image_id for image in self.images.values()}
            return [image for image in self.untagged if image not in tagged]

    def tag_image(self, image: str, tag: str) -> None:
        with self._asked("tag_image", image, tag):
            found = [one for name, one in self.images.items() if image in (name, one.image_id)]
            if not found:
                raise ObjectNotFound(f"image {image} could not be called {tag}", found=[f"No such image: {image}"])
            self.images[tag] = found[0]

    def remove_image(self, tag: str) -> None:
        with self._asked("remove_image", tag):
            if any(c.request.image == tag for c in self.containers.values()):
                raise EngineError(f"image {tag} could not be removed", found=["a container is using it"])
            self.images.pop(tag, None)
            self.untagged.pop(tag, None)

    def labels_of_volumes(self, label: str) -> Sequence[Mapping[str, str]]:
        with self._asked("labels_of_volumes", label):
            return [dict(v.labels) for v in self.volumes.values() if label in v.labels]

    def find_labelled(self, label: str) -> Sequence[Labelled]:
        with self._asked("find_labelled", label):
            everything = [("container", i, c.request.name, c.request.labels) for i, c in self.containers.items()]
            everything += [("network", i, n.name, n.labels) for i, n in self.networks.items()]
            everything += [("volume", name, name, v.labels) for name, v in self.volumes.items()]
            return [Labelled(kind=k, object_id=i, name=n, labels=own) for k, i, n, own in everything if label in own]

    def watch(self, labels: Mapping[str, str]) -> FakeEvents:
        with self._asked("watch", labels):
            stream = FakeEvents(dict(labels), self._forget_stream)
            self._streams.append(stream)
            return stream

    # -- inside ---------------------------------------------------------------------------------------------------

    def _new_id(self) -> str:
        return f"{next(self._numbers):04}{uuid.uuid4().hex}{uuid.uuid4().hex}"[:64]

    def _container(self, container_id: str) -> FakeContainer:
        try:
            return self.containers[container_id]
        except KeyError:
            raise ObjectNotFound("no such container", found=[f"No such container: {container_id}"]) from None

    def _network(self, network_id: str) -> FakeNetwork:
        try:
            return self.networks[network_id]
        except KeyError:
            raise ObjectNotFound("no such network", found=[f"network {network_id} not found"]) from None

    def _find_neighbour(self, container: FakeContainer, name: str) -> FakeContainer | None:
        for network in list(self.networks.values()):
            if container.container_id in network.members:
                for member, aliases in network.members.items():
                    if name in aliases:
                        return self.containers[member]
        return None

    def _tell_death(self, container: FakeContainer) -> None:
        event = Event(container_id=container.container_id, exit_code=container.exit_code or 0)
        for stream in list(self._streams):
            if stream.labels.items() <= container.request.labels.items():
                stream.queue.put(event)

    def _forget_stream(self, stream: FakeEvents) -> None:
        if stream in self._streams:
            self._streams.remove(stream)


class LastingEngine(FakeEngine):
    """An engine that goes on when a run has closed its connection to it, as a real one does; `end()` ends it."""

    def close(self) -> None:
        """The run has ended; what it has kept goes on."""

    def end(self) -> None:
        """Note down what is left, and end it."""
        super().close()


def open_fake(on_call: OnCall | None = None) -> FakeEngine:
    """The fake engine of a run under test, whose journal the environment names."""
    return FakeEngine(Journal(Path(os.environ[JOURNAL_VARIABLE])), on_call)


def _matching(labels: Mapping[str, str], objects: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
    return [name for name, own in objects if labels.items() <= own.items()]


def _unreachable() -> EngineUnreachable:
    return EngineUnreachable("the engine does not answer", tried=["fake://"], found=["it went away"])
