"""Files of users, read with a bound, and their home folder. What is no regular file may never end, or never begin."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from pytest_isolate.system import SYSTEM, System

MOST_TEXT_BYTES = 4 << 20
"""Of a file with declarations or variables: a mistyped path may be a database, or /dev/zero."""
MOST_BYTES = 1 << 30
"""Of a file that is held in memory as a whole."""
# Files there are regular by name only: some give a new text at each read, some block, some have no end.
_KERNELS_OWN = ("/proc", "/sys")
# Not blocking: it may have become a pipe meanwhile, which waits for its other end. Windows has none, but translates the
# ends of lines where it is not told that the file is binary.
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT"))


class UnfitFile(OSError):
    """A file that is not read: no regular file, or too large; `strerror` says which."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, open for reading; UnfitFile for anything else."""
    if "\0" in os.fsdecode(path):
        raise UnfitFile(errno.EINVAL, "a name with a zero byte, which no file has", os.fspath(path))
    _check(path, os.stat(path))  # to open a device may do something to it
    file = open(os.open(path, os.O_RDONLY | _FLAGS), "rb")  # noqa: SIM115  # the caller's
    try:
        _check(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return cast(BinaryIO, file)


def read_bytes(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a regular file; UnfitFile for anything else, and for one that is larger."""
    with open_regular(path) as file:
        check_size(path, os.fstat(file.fileno()).st_size, most_bytes)
        content = file.read(most_bytes + 1)
    check_size(path, len(content), most_bytes)
    return content


def read_text(path: str | os.PathLike[str], most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The text of a regular file in UTF-8, without a byte order mark; UnicodeDecodeError for another encoding."""
    text = read_bytes(path, most_bytes).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_size(path: str | os.PathLike[str], size_bytes: int, most_bytes: int = MOST_BYTES) -> None:
    """UnfitFile where it is more than is read."""
    if size_bytes > most_bytes:
        raise UnfitFile(errno.EFBIG, f"larger than {most_bytes >> 20} MiB, the most that is read", os.fspath(path))


def check_folder(folder: str | os.PathLike[str]) -> None:
    """UnfitFile for a folder of the kernel."""
    if os.stat(folder).st_dev in _kernels_own():
        raise UnfitFile(errno.EINVAL, "a folder of the kernel", os.fspath(folder))


def file_mode(found: os.stat_result) -> int:
    """The mode that a file or folder of this host has in a container.

    Windows has no bit for programs: everything is one, as the docker command has it.
    """
    mode = stat.S_IMODE(found.st_mode)
    return mode & 0o755 | 0o111 if SYSTEM is System.WINDOWS else mode


def read_link(path: str | os.PathLike[str]) -> str:
    """Target of a link, as containers write paths."""
    target = os.readlink(path)
    return os.fspath(target).replace("\\", "/") if SYSTEM is System.WINDOWS else os.fspath(target)


def find_home() -> Path | None:
    """The user's home folder; None where the system knows of none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _check(path: str | os.PathLike[str], found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(found.st_mode) or found.st_dev in _kernels_own():
        raise UnfitFile(errno.EINVAL, "not a regular file", os.fspath(path))


def _kernels_own() -> set[int]:
    devices = set()
    for folder in _KERNELS_OWN:
        with suppress(OSError):
            devices.add(os.stat(folder).st_dev)
    return devices - {os.stat("/").st_dev}
