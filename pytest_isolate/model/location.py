"""Places in the files of users."""

from __future__ import annotations

import sys
from typing import NamedTuple


class Location(NamedTuple):
    """The file and line (0: unknown) that declare something."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


def caller_location(depth: int) -> Location:
    """The file and line of the code `depth` calls above the one that asks."""
    frame = sys._getframe(depth + 1)
    return Location(file=frame.f_code.co_filename, line=frame.f_lineno)
