"""What this package asks of a container engine, and the plain records it answers with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from pytest_isolate.model.service import DEFAULT_SETTINGS, ContainerSettings


class EngineFacts(Struct, frozen=True, kw_only=True):
    """Which engine answers, where, and whether it shares the network that this process is in.

    `machine` is its kind of processor, as engines name it: amd64, arm64. `has_memory_folders` says whether it keeps
    folders of containers in memory, up to a size; where it does not, `memory_folders` of a request are on disk.
    `host` is where the ports answer that it publishes on `publish_on`; empty where nobody knows. `memory_bytes` is
    what its machine has, 0 for this one.
    """

    name: str
    version: str
    address: str
    is_local: bool
    machine: str = ""
    has_memory_folders: bool = True
    host: str = "127.0.0.1"
    publish_on: str = "127.0.0.1"
    memory_bytes: int = 0

    @property
    def program(self) -> str:
        """The program by which a person talks to it."""
        return "podman" if self.name == "Podman" else "docker"


class ImageFacts(Struct, frozen=True, kw_only=True):
    """What an image says of itself. `health_command` is empty where it declares no check.

    `platform` is what it is made for: `linux/amd64`, `linux/arm/v7`; empty where the engine does not tell.
    """

    image_id: str
    health_command: tuple[str, ...] = ()
    platform: str = ""


class BuildRequest(Struct, frozen=True, kw_only=True):
    """An image to build; paths are those of the test side. With `pull`, upon the newest of what it is built from."""

    tag: str
    context: str
    dockerfile: str
    args: Mapping[str, str] = {}
    target: str | None = None
    network: str | None = None
    platform: str | None = None
    pull: bool = False


class PortBinding(Struct, frozen=True, kw_only=True):
    """A port inside, published on host_ip:host_port; port 0 leaves the choice to the engine."""

    inner: int
    host_ip: str
    host_port: int


class ContainerRequest(Struct, frozen=True, kw_only=True):
    """A container to create. Limits that are None are not set.

    `volumes` are paths by name. `memory_folders` are sizes in bytes by path: of volumes of its own that are kept in
    memory for as long as a container runs that has them, and go with this one. `joined` is a container whose network is
    this one's as well, in place of one of its own. With `keeps_input` its input is open, and nothing comes from there.
    `binds` are paths inside by path on the engine's host. With `removes_itself` it is gone when it has ended.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    command: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    env: Mapping[str, str] = {}
    ports: tuple[PortBinding, ...] = ()
    network: str = ""
    aliases: tuple[str, ...] = ()
    volumes: Mapping[str, str] = {}
    memory_folders: Mapping[str, int] = {}
    memory_bytes: int | None = None
    shm_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None
    cap_drop: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    no_new_privileges: bool = True
    joined: str = ""
    user: str = ""
    keeps_input: bool = False
    binds: Mapping[str, str] = {}
    removes_itself: bool = False
    settings: ContainerSettings = DEFAULT_SETTINGS


class ContainerState(Struct, frozen=True, kw_only=True):
    """How a container is right now. `exit_code` is None while it runs.

    `ports` are host ports by port inside, `volumes` are paths by name. `started_at` and `ended_at` are in seconds
    of the epoch, 0 where it never has; one that runs and has an `ended_at` was started again.
    """

    is_running: bool
    is_paused: bool = False
    exit_code: int | None = None
    is_out_of_memory: bool = False
    ports: Mapping[int, int] = {}
    volumes: Mapping[str, str] = {}
    name: str = ""
    started_at: float = 0
    ended_at: float = 0


class LogLine(Struct, frozen=True):
    """A line that a container wrote, and when the engine has read it, in seconds of the epoch.

    That may be later than it was written: up to 66 ms were measured on a busy machine.
    """

    when: float
    text: str


class ContainerUsage(Struct, frozen=True, kw_only=True):
    """What a container takes at this moment, and the processor time that it has taken since it was started.

    Memory is without the part that the kernel can take back at once: files that were read a while ago.
    """

    memory_bytes: int
    cpu_s: float


class ExecResult(Struct, frozen=True, kw_only=True):
    """What a command in a container did."""

    exit_code: int
    stdout: str
    stderr: str


class Labelled(Struct, frozen=True, kw_only=True):
    """A container, network, volume or image with labels of ours."""

    kind: str
    object_id: str
    name: str
    labels: Mapping[str, str]


class Event(Struct, frozen=True, kw_only=True):
    """A container of ours died."""

    container_id: str
    exit_code: int


class EventStream(Protocol):
    """Deaths of containers with certain labels, as they happen; iteration ends when it is closed."""

    def __iter__(self) -> Iterator[Event]: ...

    def close(self) -> None:
        """End the iteration, in whichever thread it runs."""


class Session(Protocol):
    """A command that runs in a container, with its input and output open."""

    def send(self, text: bytes) -> None:
        """Write to its input."""

    def receive(self, timeout_s: float) -> tuple[int, bytes] | None:
        """What it writes next and where to (1: stdout, 2: stderr); None when it has ended.

        EngineError when it writes nothing for so long, or when the connection to it broke.
        """

    def exit_code(self) -> int:
        """How it ended; ask when there is nothing more to receive."""

    def close(self) -> None:
        """Let go of it: its input ends, and with it whatever reads from there. Safe to repeat."""


class LogTail(Protocol):
    """The last lines of a container's log, as it goes on."""

    def read_to_end(self, timeout_s: float) -> str:
        """All of it, when the container has ended; EngineError when it writes nothing more, and goes on."""

    def close(self) -> None:
        """Let go of it. Safe to repeat."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far something has come that takes its time. `total` is 0 where nobody knows it; `unit` is bytes or steps."""

    text: str
    done: int = 0
    total: int = 0
    unit: str = ""


ProgressCallback = Callable[[Progress], None]


class Removing(Protocol):
    """What cleaning up needs of an engine. Removing what is gone already succeeds."""

    def list_containers(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The ids of all containers that carry these labels, running or not."""

    def list_networks(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The ids of all networks that carry these labels."""

    def list_volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The names of all volumes that carry these labels."""

    def labels_of_volumes(self, label: str) -> Sequence[Mapping[str, str]]:
        """The labels of every volume that carries one of this name, whatever its value."""

    def remove_container(self, container_id: str) -> None:
        """Kill and remove a container with its anonymous volumes; one that is gone, or going, is fine."""

    def remove_network(self, network_id: str) -> None:
        """Remove a network and detach what is still on it; one that is gone is fine."""

    def remove_volume(self, name: str) -> None:
        """Remove a volume; one that is gone is fine."""


class Engine(Removing, Protocol):
    """A container engine. Every method raises an EngineError, never a library's own exception.

    Methods that remove something succeed when it is gone already. All may be called from several threads.
    """

    def facts(self) -> EngineFacts:
        """Which engine this is."""

    def close(self) -> None:
        """Close the connections to the engine."""

    def find_image(self, image: str) -> ImageFacts | None:
        """The image, if the engine has it."""

    def pull_image(self, image: str, tell: ProgressCallback, platform: str | None = None) -> ImageFacts:
        """The image, pulled, of that platform or the engine's own; ImageNotFound says what the registry answered."""

    def build_image(self, request: BuildRequest, tell: ProgressCallback) -> ImageFacts:
        """The image, built and tagged; BuildFailed names the step and shows its last lines."""

    def host_address(self) -> str:
        """The address of the engine's host for containers; empty where the engine does not tell."""

    def used_subnets(self) -> Sequence[str]:
        """The subnets of every network on the engine, ours or not."""

    def create_network(self, name: str, subnet: str, labels: Mapping[str, str]) -> str:
        """A bridge of its own with this subnet; SubnetTaken when another network overlaps."""

    def attach(self, network_id: str, container_id: str, aliases: Sequence[str]) -> None:
        """Make a container reachable on one more network, under these names; one that is on it already is fine."""

    def detach(self, network_id: str, container_id: str) -> None:
        """Take a container off a network; one that is off it, or gone, is fine."""

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """A named volume; one of this name that is there already is used."""

    def create_container(self, request: ContainerRequest) -> str:
        """The id of a container that is not started yet."""

    def dropped_limits(self) -> Collection[str]:
        """Which limits (memory, cpus, pids) containers that were made here should have had and do not have."""

    def save_archive(self, container_id: str, path: str, file: Path, most_bytes: int) -> bool:
        """Write a file or folder of a container to a tar archive on this host, under its own name.

        False, and the archive is of no use, where it would take more bytes than that.
        """

    def copy_into(self, container_id: str, archive: bytes) -> None:
        """Unpack a tar archive at the root of a container."""

    def start_container(self, container_id: str) -> None:
        """Start a container; PortTaken when a port that it publishes is in use."""

    def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Ask a container to stop, and kill it after the time-out."""

    def kill_container(self, container_id: str) -> None:
        """End a container at once; one that does not run is fine."""

    def pause_container(self, container_id: str) -> None:
        """Freeze all processes of a container."""

    def unpause_container(self, container_id: str) -> None:
        """Let a paused container go on."""

    def inspect_container(self, container_id: str) -> ContainerState:
        """How a container is right now."""

    def read_usage(self, container_id: str) -> ContainerUsage | None:
        """What a container takes; None where it does not run."""

    def read_logs(self, container_id: str, *, tail: int | None = None, since: float = 0, stream: str = "") -> str:
        """What a container wrote to stdout and stderr, or to the stream of that name, from `since` (epoch) on."""

    def follow_log(self, container_id: str, tail: int) -> LogTail:
        """What a container writes to stdout and stderr, from so many lines before now on."""

    def read_log_lines(self, container_id: str, since: float) -> Sequence[LogLine]:
        """What a container wrote to stdout and stderr from `since` (seconds of the epoch) on, line by line."""

    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult:
        """Run a command in a container and wait for its end."""

    def open_session(self, container_id: str, argv: Sequence[str], env: Mapping[str, str]) -> Session:
        """Start a command in a container, with these variables besides the container's own, and talk to it."""

    def list_images(self, label: str) -> Sequence[Labelled]:
        """Every tagged image that carries a label of this name, by its tag."""

    def tag_image(self, image: str, tag: str) -> None:
        """Give an image one more name, also where another one has had it."""

    def remove_image(self, tag: str) -> None:
        """Take a tag away, and the image with its last one; one that is gone is fine."""

    def find_labelled(self, label: str) -> Sequence[Labelled]:
        """Every container, network and volume that carries a label of this name, whatever its value."""

    def watch(self, labels: Mapping[str, str]) -> EventStream:
        """Deaths of containers with these labels, as they happen."""
