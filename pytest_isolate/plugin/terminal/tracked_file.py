"""pytest's file on a terminal, while something else may stand below what it has written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO

from pytest_isolate.text import plain_text


class CursorTrackingFile:
    """Calls `make_way` before anything is written, and knows what stands on the line that the cursor is on."""

    def __init__(self, file: TextIO, line: str, make_way: Callable[[], None]) -> None:
        self.file = file
        self.line = last_line(line)
        self._make_way = make_way

    def write(self, text: str) -> int:
        """Write behind what was written before."""
        self._make_way()
        self.line = last_line(self.line + text)
        return self.file.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def last_line(text: str) -> str:
    """The part of a text that is on the line of the cursor after it."""
    return plain_text(text).replace("\r", "\n").rpartition("\n")[2]
