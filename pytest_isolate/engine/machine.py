"""The machine of an engine elsewhere: its memory, and its clock, by which the engine tells when things happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_isolate.engine.docker.wire import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Bytes of memory, 0 where it is this machine; and how far its clock is ahead of this one's, in seconds."""

    memory_bytes: int = 0
    ahead_s: float = 0


HERE = Machine()
_MORE_ASKS = 3


def ask_machine(ask: Callable[[], Mapping[str, Any]], now: Callable[[], float] = time.time) -> Machine:
    """What an engine's machine is like, by what the engine tells of itself.

    A difference that the way there and back may explain counts as none. A clock that seems to be behind is asked for
    again: Docker from 25 on gives who asks meanwhile an answer that it began before (moby's pull request 45847).
    """
    machine = _ask_once(ask, now)
    for _ in range(_MORE_ASKS):
        if machine.ahead_s >= 0:
            break
        machine = max(machine, _ask_once(ask, now), key=lambda m: m.ahead_s)
    return machine


def _ask_once(ask: Callable[[], Mapping[str, Any]], now: Callable[[], float]) -> Machine:
    asked = now()
    told = ask()
    answered = now()
    said = moment(str(told.get("SystemTime", "")))
    ahead = said - (asked + answered) / 2 if said else 0.0
    is_certain = abs(ahead) > (answered - asked) / 2
    return Machine(memory_bytes=int(told.get("MemTotal", 0)), ahead_s=ahead if is_certain else 0.0)
