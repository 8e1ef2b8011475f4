"""The records of a run: each process writes a file of its own in the run's folder, the controller reads them all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from pytest_isolate.running.report.records import Record, parse_line, write_line

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
