"""What is recorded for the page, as frozen values, and their lines in a file. All moments are seconds of the epoch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

_SUFFIX = ".page"


class Journal:
    """The file of one process. Safe to use from several threads; what is written stays, however the process ends."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker or 'main'}{_SUFFIX}"
        self._lock = threading.Lock()

    def write(self, *records: Record) -> None:
        """Add records."""
        text = "".join(f"{write_line(record)}\n" for record in records)
        # Opened for each: nothing stays open in a process that is forked or killed, and records are few.
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(text)


class Reader:
    """Reads the files of all processes, again and again, each line once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def read_new(self) -> Iterator[Record]:
        """What has been added since the last call."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # it is being written; or its process has died, and nothing comes behind it
                    self._read[path] = self._read.get(path, 0) + len(line)
                    yield parse_line(line.decode())


class Launched(Struct, frozen=True, kw_only=True):
    """A container that was started, or is used although it was started before. `code` names what tests ask for.

    `worker` has it for itself, where it is not shared; `by` is the worker that has started it, in a
    thread, or `found` it.
    """

    at: float
    container: str
    code: str
    service: str
    stack: str
    worker: str
    lives_for: str
    image: str
    declared_at: str
    needs: Sequence[str] = ()
    inside: str = ""
    outside: str = ""
    by: str = ""
    found: bool = False
    thread: int = 0


class BecameReady(Struct, frozen=True, kw_only=True):
    """It answered for the first time; for one that was ready before, it answered this process."""

    at: float
    container: str


class Wrote(Struct, frozen=True, kw_only=True):
    """All that a container has written so far, or, where that is much, its first and last lines.

    `lines` are moments and texts, without passwords; `cut` counts the lines that are left out behind the first `head`.
    """

    at: float
    container: str
    lines: Sequence[tuple[float, str]]
    head: int = 0
    cut: int = 0


class Removed(Struct, frozen=True, kw_only=True):
    """It is about to be removed, with what it wrote."""

    at: float
    container: str


class Took(Struct, frozen=True, kw_only=True):
    """What a container takes: memory at this moment, processor time since it was started."""

    at: float
    container: str
    memory_bytes: int
    cpu_s: float


class Spent(Struct, frozen=True, kw_only=True):
    """A span of a process's timeline. `thread` is that of the start which it is a part of."""

    worker: str
    what: str
    subject: str
    began: float
    ended: float
    failed: bool
    thread: int


class Waited(Struct, frozen=True, kw_only=True):
    """A test has waited for a service or stack."""

    worker: str
    test: str
    what: str
    began: float
    ended: float


class RanTest(Struct, frozen=True, kw_only=True):
    """A test that has run. `codes` are those of the services that it could use, `text` is why it has failed."""

    worker: str
    test: str
    began: float
    ended: float
    outcome: str
    codes: Sequence[str] = ()
    text: str = ""


class OnEngine(Struct, frozen=True, kw_only=True):
    """The engine that a process has connected to."""

    name: str


Record = OnEngine | Launched | BecameReady | Wrote | Removed | Took | Spent | Waited | RanTest
_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (OnEngine, Launched, BecameReady, Wrote, Removed, Took, Spent, Waited, RanTest)
}


def write_line(record: Record) -> str:
    """A record as one line."""
    return json.dumps([type(record).__name__, to_builtins(record)])


def parse_line(line: str) -> Record:
    """The record of a line; ValueError where a process has died while it wrote it."""
    kind, fields = json.loads(line)
    made: Record = _KINDS[kind](**fields)
    return made
