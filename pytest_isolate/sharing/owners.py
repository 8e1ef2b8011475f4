"""Owners of objects, and the proof that one is dead. Fail closed: in doubt it lives."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from pytest_isolate.model.identity import LABEL_PROJECT, LABEL_USER, Owner
from pytest_isolate.model.service import Pairs
from pytest_isolate.sharing.cache import cache_folder, ensure_secret
from pytest_isolate.system import SYSTEM, System, user_id, user_name

# Field 22 of /proc/PID/stat, counted behind the command in parentheses, which may itself hold blanks (proc(5)):
# ticks since boot, which no change of the clock moves.
_START_TIME = 19
_BOOT = "/proc/sys/kernel/random/boot_id"
_NONE = "none"


def read_owner() -> Owner:
    """The owner that this process is."""
    pid = os.getpid()
    host, boot, pid_namespace = _read_host()
    return Owner(
        # A machine id alone may be a clone's; the name alone may be another machine's.
        host=f"{host}/{socket.gethostname()}",
        boot=boot,
        pid_namespace=pid_namespace,
        pid=pid,
        start_time=read_start_time(pid) or "",
    )


def _read_host() -> tuple[str, str, str]:
    """Id of this host, of its boot, and of the space that process ids are of.

    Only Linux has the last two. Elsewhere the start of a process is told by the clock, so that none of an earlier boot
    is taken for another one, and the id is one that this user's processes of this system have agreed on.
    """
    if SYSTEM is not System.LINUX:
        return ensure_secret(cache_folder() / "host").hex()[:32], _NONE, _NONE
    return _first_line("/etc/machine-id"), _first_line(_BOOT), _link("/proc/self/ns/pid")


def read_user() -> str:
    """The name of the user that this process runs as, or the number where there is none."""
    return getpass.getuser() if SYSTEM is System.WINDOWS else user_name(user_id())


def whose(project: str) -> Pairs:
    """Labels that tell people whose an object is. Nothing is decided by them."""
    return ((LABEL_USER, read_user()), (LABEL_PROJECT, project))


def read_start_time(pid: int) -> str | None:
    """The start time of a process, as text that only compares for equality; None where there is no such process."""
    if SYSTEM is not System.LINUX:
        return _ask_psutil(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    # A zombie does nothing any more, but its id is still its own.
    return None if fields[0] in "ZX" else fields[_START_TIME]


def _ask_psutil(pid: int) -> str | None:
    import psutil  # not needed on Linux, and the guardian is to stay small

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return "another user's"  # and so none that could have named itself as an owner


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


class Verdict(Struct, frozen=True):
    """Dead or not, and why."""

    is_dead: bool
    reason: str
    is_alive: bool = False
    """Provably alive; where neither is so, it cannot be known from here."""


def judge(owner: Owner | None, here: Owner, read_start_time: Callable[[int], str | None]) -> Verdict:  # noqa: PLR0911  # a list of reasons
    """Judge an owner from where `here` runs; `read_start_time` gives None for a process that does not exist."""
    if owner is None:
        return Verdict(False, "its owner label cannot be read")
    if not owner.host or owner.host != here.host:
        return Verdict(False, "its owner runs on another host")
    if not owner.boot or not here.boot:
        return Verdict(False, "which boot its owner belongs to is not known")
    if owner.boot != here.boot:
        return Verdict(True, "its owner's host has been started again since")
    if not owner.pid_namespace or owner.pid_namespace != here.pid_namespace:
        return Verdict(False, "its owner's process cannot be seen from here (another pid namespace)")
    started = read_start_time(owner.pid)
    if started is None:
        return Verdict(True, f"its owner, process {owner.pid}, is gone")
    if started != owner.start_time:
        return Verdict(True, f"its owner is gone: process {owner.pid} is another one now")
    return Verdict(False, f"its owner, process {owner.pid}, is running", is_alive=True)
