"""Facts about this machine for `pytest-isolate doctor`, which decides on them elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import sys
from ipaddress import IPv4Network
from pathlib import Path

from msgspec import Struct

from pytest_isolate.system import group_name, user_id

_INOTIFY = Path("/proc/sys/fs/inotify")


class Disk(Struct, frozen=True, kw_only=True):
    """Room on the file system of a folder; None where it cannot be seen from here."""

    what: str
    path: str
    free_bytes: int | None = None
    size_bytes: int = 0
    free_files: int = 0
    files: int = 0


class Inotify(Struct, frozen=True, kw_only=True):
    """The kernel's limits for each user, and how much of the first one this user's processes have."""

    max_instances: int
    max_watches: int
    used_instances: int


class Route(Struct, frozen=True):
    """A network that this host reaches through an interface."""

    subnet: str
    interface: str


def read_disk(what: str, path: str) -> Disk:
    """The room there; also where the folder itself may not be entered."""
    try:
        if not hasattr(os, "statvfs"):
            room = shutil.disk_usage(path)
            return Disk(what=what, path=path, free_bytes=room.free, size_bytes=room.total)
        found = os.statvfs(path)
    except OSError:
        return Disk(what=what, path=path)
    return Disk(
        what=what,
        path=path,
        # Without what is reserved, as df tells it: an engine that lives on reserves has a full disk.
        free_bytes=found.f_frsize * found.f_bavail,
        size_bytes=found.f_frsize * found.f_blocks,
        free_files=found.f_favail,
        files=found.f_files,
    )


def read_inotify() -> Inotify | None:
    """None where the kernel has no such limits."""
    try:
        instances, watches = (
            int((_INOTIFY / f"max_user_{name}").read_text(encoding="utf-8")) for name in ("instances", "watches")
        )
    except (OSError, ValueError):
        return None
    return Inotify(max_instances=instances, max_watches=watches, used_instances=_count_inotify(user_id()))


def read_routes() -> tuple[Route, ...]:
    """The routes of IPv4, but the one to everywhere else."""
    try:
        lines = Path("/proc/net/route").read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return ()
    return tuple(route for line in lines if (route := parse_route(line)))


def parse_route(line: str) -> Route | None:
    """A line of /proc/net/route, whose numbers are in the byte order of the machine; None for the default route."""
    interface, target, *rest = line.split()
    address, mask = (int.from_bytes(bytes.fromhex(word), "little") for word in (target, rest[5]))
    if not mask:
        return None
    return Route(str(IPv4Network((address & mask, mask.bit_count()))), interface)


def read_groups() -> tuple[str, ...]:
    """The names of the groups that this process is in."""
    if sys.platform == "win32" or not hasattr(os, "getgroups"):
        return ()
    return tuple(map(group_name, sorted({os.getegid(), *os.getgroups()})))


def _count_inotify(user: int) -> int:
    count = 0
    for process in Path("/proc").iterdir():
        if not re.fullmatch(r"\d+", process.name):
            continue
        try:
            if process.stat().st_uid == user:
                count += sum(map(_is_inotify, (process / "fd").iterdir()))
        except OSError:
            continue  # it has ended meanwhile, or may not be looked at
    return count


def _is_inotify(link: Path) -> bool:
    try:
        return os.readlink(link) == "anon_inode:inotify"
    except OSError:
        return False  # closed meanwhile
