"""What this package asks of a container engine, and the plain records it answers with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """Which engine answers, where, and whether it shares this host's network."""

    name: str
    version: str
    address: str
    is_local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What an image says of itself. `health_command` is empty where it declares no check."""

    image_id: str
    health_command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """An image to build; paths are those of the test side."""

    tag: str
    context: str
    dockerfile: str
    args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    network: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """A port inside, published on host_ip:host_port; port 0 leaves the choice to the engine."""

    inner: int
    host_ip: str
    host_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRequest:
    """A container to create. Limits that are None are not set."""

    name: str
    image: str
    labels: Mapping[str, str]
    command: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    network: str = ""
    aliases: tuple[str, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int | None = None
    shm_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None
    cap_drop: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    no_new_privileges: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """How a container is right now. `exit_code` is None while it runs; `ports` maps inner to host port."""

    is_running: bool
    is_paused: bool = False
    exit_code: int | None = None
    is_out_of_memory: bool = False
    ports: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """What a command in a container did."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A container of ours died."""

    container_id: str
    exit_code: int


class EventStream(Protocol):
    """Deaths of containers with certain labels, as they happen; iteration ends when it is closed."""

    def __iter__(self) -> Iterator[Event]: ...
    def close(self) -> None: ...


Progress = Callable[[str], None]


class Engine(Protocol):
    """A container engine. Every method raises an EngineError, never a library's own exception.

    Methods that remove something succeed when it is gone already. All may be called from several threads.
    """

    def facts(self) -> EngineFacts: ...
    def close(self) -> None: ...

    def find_image(self, image: str) -> ImageFacts | None: ...
    def pull_image(self, image: str, progress: Progress) -> ImageFacts: ...
    def build_image(self, request: BuildRequest, progress: Progress) -> ImageFacts: ...

    def used_subnets(self) -> Sequence[str]: ...
    def create_network(self, name: str, subnet: str, labels: Mapping[str, str]) -> str: ...
    def attach(self, network_id: str, container_id: str, aliases: Sequence[str]) -> None: ...
    def detach(self, network_id: str, container_id: str) -> None: ...
    def remove_network(self, network_id: str) -> None: ...

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None: ...
    def remove_volume(self, name: str) -> None: ...

    def create_container(self, request: ContainerRequest) -> str: ...
    def copy_into(self, container_id: str, archive: bytes) -> None: ...
    def start_container(self, container_id: str) -> None: ...
    def stop_container(self, container_id: str, timeout_s: int) -> None: ...
    def kill_container(self, container_id: str) -> None: ...
    def pause_container(self, container_id: str) -> None: ...
    def unpause_container(self, container_id: str) -> None: ...
    def remove_container(self, container_id: str) -> None: ...
    def inspect_container(self, container_id: str) -> ContainerState: ...
    def read_logs(self, container_id: str, *, tail: int | None = None, since: float = 0) -> str: ...
    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult: ...

    def list_containers(self, labels: Mapping[str, str]) -> Sequence[str]: ...
    def list_networks(self, labels: Mapping[str, str]) -> Sequence[str]: ...
    def list_volumes(self, labels: Mapping[str, str]) -> Sequence[str]: ...
    def watch(self, labels: Mapping[str, str]) -> EventStream: ...
