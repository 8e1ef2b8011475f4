"""Owners of objects, and the proof that one is dead. Fail closed: in doubt it lives."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from pytest_isolate.model.identity import LABEL_PROJECT, LABEL_USER, Owner
from pytest_isolate.model.service import Pairs

# Field 22 of /proc/PID/stat, counted behind the command in parentheses, which may itself hold blanks (proc(5)).
_START_TIME = 19


def read_owner() -> Owner:
    """The owner that this process is."""
    pid = os.getpid()
    return Owner(
        # A machine id alone may be a clone's; the name alone may be anybody's.
        host=f"{_first_line('/etc/machine-id')}/{socket.gethostname()}",
        boot=_first_line("/proc/sys/kernel/random/boot_id"),
        pid_namespace=_link("/proc/self/ns/pid"),
        pid=pid,
        start_time=read_start_time(pid) or "",
    )


def read_user() -> str:
    """The name of the user that this process runs as, or the number where there is none."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def whose(project: str) -> Pairs:
    """Labels that tell people whose an object is. Nothing is decided by them."""
    return ((LABEL_USER, read_user()), (LABEL_PROJECT, project))


def read_start_time(pid: int) -> str | None:
    """The start time of a process, as text that only compares for equality; None where there is no such process.

    On Linux in ticks since boot, which no change of the clock moves.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _ask_psutil(pid)
    # A zombie does nothing any more, but its id is still its own.
    return None if fields[0] in "ZX" else fields[_START_TIME]


def _ask_psutil(pid: int) -> str | None:
    import psutil  # not needed on Linux, and the guardian is to stay small

    return f"{psutil.Process(pid).create_time():.2f}" if psutil.pid_exists(pid) else None


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().partition("\n")[0].strip()
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
