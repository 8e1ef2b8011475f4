"""Whether the owner of an object is provably dead. Fail closed: in doubt it lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_isolate.model.identity import Owner


@dataclass(frozen=True, slots=True)
class Verdict:
    """Dead or not, and why."""

    is_dead: bool
    reason: str
    is_alive: bool = False
    """Provably alive; where neither is so, nobody can tell from here."""


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
