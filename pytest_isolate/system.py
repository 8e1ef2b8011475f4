"""The system that this process runs on, told by what Python has there, so that tests can take it away."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pathlib import Path  # its import is not for the guardian, which is to stay small

Result = TypeVar("Result")
# Two of Windows' errors: "access is denied" and "being used by another process". Both pass when the reader closes it.
_PASSING = (5, 32)
_TRIES = 50
_PAUSE_S = 0.01


class System(Enum):
    """Kinds of systems that differ in what this package uses. Every Unix but Linux counts as macOS."""

    LINUX = "Linux"
    MACOS = "macOS"
    WINDOWS = "Windows"


def find_system() -> System:
    """The kind of this one."""
    if hasattr(os, "pidfd_open"):
        return System.LINUX
    return System.MACOS if hasattr(os, "fork") else System.WINDOWS


SYSTEM = find_system()


def user_id() -> int:
    """The number of the user that this process runs as; Windows has none, and says 0 of every file."""
    return os.getuid() if hasattr(os, "getuid") else 0


def user_name(number: int) -> str:
    """The name of a user, or the number where there is none."""
    if sys.platform != "win32":
        import pwd  # not there on Windows

        try:
            return pwd.getpwuid(number).pw_name
        except KeyError:
            pass
    return str(number)


def group_name(number: int) -> str:
    """The name of a group, or the number where there is none."""
    if sys.platform != "win32":
        import grp  # not there on Windows

        try:
            return grp.getgrgid(number).gr_name
        except KeyError:
            pass
    return str(number)


def replace_file(new: str | Path, path: str | Path) -> None:
    """Rename over a file in one step. Windows refuses that while any process reads the old one, which takes moments."""
    _again(lambda: os.replace(new, path))


def remove_file(path: Path) -> None:
    """Remove a file. Safe to repeat; and under a reader, under whom Windows removes nothing."""
    _again(lambda: path.unlink(missing_ok=True))


def read_file(path: Path) -> str:
    """The text of a file that others replace, which Windows may deny at that very moment."""
    return _again(lambda: path.read_text(encoding="utf-8"))


def _again(work: Callable[[], Result]) -> Result:
    for _ in range(_TRIES):
        try:
            return work()
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _PASSING:
                raise
        time.sleep(_PAUSE_S)
    return work()
