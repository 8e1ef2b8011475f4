"""Files that hold all of what services wrote during failed tests, as it is read: a log may be larger than memory."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import IO

from pytest_isolate.engine.api import LogLine
from pytest_isolate.running.evidence.render import NOT_STORED, render_uncut

_LONGEST = 80


class StoredLog:
    """Lines of one service during one test: a file that is made with the first line, and added to if it is not new.

    What is wrong with the disk must not hide why the test has failed: it is told where the file would be.
    """

    def __init__(self, folder: Path, test: str, service: str, *, is_new: bool) -> None:
        self._path = folder / file_name(test) / f"{file_name(service)}.log"
        self._mode = "w" if is_new else "a"
        self._file: IO[str] | None = None
        self._phase = ""
        self._trouble = ""

    def write(self, phase: str, line: LogLine) -> None:
        """Add a line of a phase of the test."""
        if self._trouble:
            return
        try:
            file = self._file or self._open()
            if phase != self._phase:
                self._phase = phase
                file.write(f"== {phase}\n")
            file.write(f"{render_uncut(line)}\n")
        except OSError as error:
            self._trouble = f"{NOT_STORED}{error}"

    def _open(self) -> IO[str]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = file = self._path.open(self._mode, encoding="utf-8")
        return file

    def close(self) -> str:
        """Return the file's path, or why there is none; empty where nothing was written."""
        try:
            if self._file:
                self._file.close()
        except OSError as error:
            self._trouble = f"{NOT_STORED}{error}"
        return self._trouble or (str(self._path) if self._file else "")


def file_name(text: str) -> str:
    """A name that every file system takes; what it cannot say in full is told apart by a digest."""
    name = re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.")
    if name == text and len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"
