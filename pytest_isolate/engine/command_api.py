"""The command line's questions to a container engine, beyond those of runs, which therefore need not import them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from pytest_isolate.engine.api import LOOPBACK, Engine
from pytest_isolate.engine.image_archive import Parts, Store
from pytest_isolate.model.endpoint import Port


class ContainerFacts(Struct, frozen=True, kw_only=True):
    """A container as the engine lists it. `ports` are addresses outside by port inside."""

    container_id: str
    name: str
    image: str
    state: str
    status: str
    labels: Mapping[str, str]
    ports: Mapping[Port, str]


class InteractiveCommand(Protocol):
    """A command in a container whose input and output are those of this process."""

    def fileno(self) -> int:
        """A descriptor that is readable when there is something to receive."""

    def send(self, content: bytes) -> None:
        """Write to its input."""

    def end_input(self) -> None:
        """End its input; what it still writes comes nevertheless."""

    def receive(self, *, is_ready: bool) -> Sequence[tuple[int, bytes]] | None:
        """Its new output, each piece with its stream (1: stdout, 2: stderr); None when it has ended.

        Unless the descriptor `is_ready`, only what came before it could be: the descriptor does not tell of that.
        """

    def resize(self, columns: int, lines: int) -> None:
        """Tell it the size of its terminal; of no effect before it has begun, and after it has ended."""

    def exit_code(self) -> int:
        """Its exit code; to be asked when there is nothing more to receive."""

    def close(self) -> None:
        """Let go of it."""


class ImageTransfer(Protocol):
    """Images between an engine and a store of files."""

    def save(self, image_ids: Sequence[str], store: Store) -> list[Parts]:
        """The parts of each of these images, kept in the store, in their order."""

    def load(self, images: Sequence[Parts], store: Store) -> list[str]:
        """The id, or the name, of each image, which the engine has from now on, in their order."""


class CommandEngine(Engine, Protocol):
    """An engine with what the command `pytest-isolate` asks beyond what runs need."""

    @property
    def image_transfer(self) -> ImageTransfer:
        """The way of images out of it and into it."""

    def list_facts(self, label: str) -> Sequence[ContainerFacts]:
        """Every container that carries a label of this name, running or not."""

    def stream_log(self, container_id: str, *, tail: int | None, follow: bool) -> Iterator[tuple[int, bytes]]:
        """Log of a container, piece by piece, each with its stream; with `follow` until it ends."""

    def open_interactive(self, container_id: str, argv: Sequence[str], *, terminal: str) -> InteractiveCommand:
        """Start a command in a container; with a terminal of its own where `terminal` names a kind (TERM)."""


# -- what `pytest-isolate doctor` finds out ----------------------------------------------------------------------------


class SocketFacts(Struct, frozen=True, kw_only=True):
    """A socket of this host, and whether this user may use it."""

    path: str
    owner: str
    group: str
    mode: str
    may_use: bool


class Attempt(Struct, frozen=True, kw_only=True):
    """An address that was tried, what named it, and why no engine answered; empty where one did."""

    address: str
    named_by: str
    answer: str
    socket: SocketFacts | None = None


class EngineReport(Struct, frozen=True, kw_only=True):
    """The answers of an engine about itself."""

    name: str
    version: str
    api: str
    address: str
    named_by: str
    is_local: bool
    data_root: str
    driver: str
    is_rootless: bool
    limits_memory: bool
    limits_processes: bool
    subnets: tuple[str, ...]
    pools: tuple[tuple[str, int], ...]
    clock_ahead_s: float
    clock_within_s: float  # how far that may be wrong
    host: str = LOOPBACK
    publish_on: str = LOOPBACK
    virtual_machine: str = ""  # its name, where the engine runs in one of this host
    memory_bytes: int = 0
    advice: Mapping[str, str] = {}  # ways out by what there may be too little of: networks (pools), disk, limits


class CheckResult(Struct, frozen=True, kw_only=True):
    """One check of an engine that is no daemon of a host, and what to do where it found something."""

    check: str
    found: str
    is_problem: bool = False
    is_warning: bool = False
    do: str = ""
