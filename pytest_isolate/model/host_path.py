"""Paths of the host that declares services, written with slashes, also where they begin with a drive or a share."""

from __future__ import annotations

import ntpath
import posixpath
import re

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\|//")


def is_absolute(path: str) -> bool:
    """True for a path that needs no folder: of Windows, too, wherever it is read."""
    return path.startswith("/") or _WINDOWS.match(path) is not None


def with_slashes(path: str) -> str:
    """The same path; on Windows slashes divide names, too."""
    return path.replace("\\", "/") if _WINDOWS.match(path) else path


def join_path(folder: str, path: str) -> str:
    """A path that is relative to a folder of this host. One that begins with a slash may be the engine's, and stays."""
    if not path.startswith("/") and (_WINDOWS.match(folder) or _WINDOWS.match(path)):
        return with_slashes(ntpath.normpath(ntpath.join(folder, path)))
    return posixpath.normpath(posixpath.join(folder, path))


def folder_of(file: str) -> str:
    """The folder that a file is in."""
    return posixpath.dirname(with_slashes(file))
