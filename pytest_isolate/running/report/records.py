"""Records of a run, from which its page is made, and the files that they are kept in. Moments are epoch seconds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, convert, to_builtins

_SUFFIX = ".page"


class Journal:
    """Record file of one process. Safe to use from several threads; what is written stays, however the process ends."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker or 'main'}{_SUFFIX}"
        self._lock = threading.Lock()
        self.trouble = ""

    def write(self, *records: Record) -> None:
        """Append records. Where that fails, `trouble` says why, and nothing comes behind what is half written."""
        if self.trouble:
            return
        text = "".join(f"{write_line(record)}\n" for record in records)
        # Opened for each: nothing stays open in a process that is forked or killed, and records are few.
        try:
            with self._lock, self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            self.trouble = str(error)


class Reader:
    """Reads the journals of all processes, again and again, each line once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def read_new(self) -> Iterator[Record]:
        """Yield the records that were added since the last call."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with suppress(FileNotFoundError), path.open("rb") as file:  # something has removed the run's folder
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # it is being written; or its process has died, and nothing comes behind it
                    self._read[path] = self._read.get(path, 0) + len(line)
                    yield parse_line(line.decode())


class ContainerRecord(Struct, frozen=True, kw_only=True, tag=True):
    """Base of the records about one container at one moment."""

    at: float
    container: str


class Launched(ContainerRecord, frozen=True, kw_only=True):
    """A container that was started, or that an earlier run has started and this one uses (`found`).

    `service` is its name with its alternatives. `code` is the instance's hash, by which tests name it. `worker` is the
    worker whose own instance it is, empty where it is shared; `by` is the worker that started it, in a `thread`.
    """

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

    @property
    def name(self) -> str:
        """Name of the service, with its stack."""
        return f"{self.stack}.{self.service}" if self.stack else self.service


class BecameReady(ContainerRecord, frozen=True, kw_only=True):
    """The first answer of a container to the probes of this process."""


class Removed(ContainerRecord, frozen=True, kw_only=True):
    """The removal of a container, which begins at this moment."""


class ContainerLog(ContainerRecord, frozen=True, kw_only=True):
    """Log of a container as moments and texts; of a long one only the first `head` lines and those after `cut` more."""

    lines: Sequence[tuple[float, str]]
    head: int = 0
    cut: int = 0


def count_fitting(lines: Iterable[tuple[float, str]], most: float) -> int:
    """Count the lines that fit into `most` characters."""
    count, size = 0, 0
    for _, text in lines:
        size += len(text) + 1
        if size > most:
            break
        count += 1
    return count


class UsageSample(ContainerRecord, frozen=True, kw_only=True):
    """Memory of a container at this moment, and its processor time since it was started."""

    memory_bytes: int
    cpu_s: float


class WorkerSpan(Struct, frozen=True, kw_only=True, tag=True):
    """Base of the records about a span of time in one worker."""

    worker: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """Length of the span."""
        return self.ended - self.began


class TimelineSpan(WorkerSpan, frozen=True, kw_only=True):
    """A span of a process's timeline. `thread` is the thread of the start that it belongs to."""

    what: str
    subject: str
    failed: bool
    thread: int


class Waited(WorkerSpan, frozen=True, kw_only=True):
    """A test's wait for a service or stack."""

    test: str
    what: str


class RanTest(WorkerSpan, frozen=True, kw_only=True):
    """A test that has run, with the codes of the services that it could use; `text` is the reason of its failure."""

    test: str
    outcome: str
    codes: Sequence[str] = ()
    text: str = ""


class OnEngine(Struct, frozen=True, kw_only=True, tag=True):
    """The engine that a process has connected to."""

    name: str


Record = OnEngine | Launched | BecameReady | Removed | ContainerLog | UsageSample | TimelineSpan | Waited | RanTest


def write_line(record: Record) -> str:
    """Encode a record as one line."""
    # Not by msgspec: it refuses texts that are not quite Unicode, as file names in a test's output may be.
    return json.dumps(to_builtins(record))


def parse_line(line: str) -> Record:
    """Decode a line."""
    record: Record = convert(json.loads(line), Record)
    return record
