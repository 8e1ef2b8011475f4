"""Ports on which a container listens, seen from within it: also where a forwarder is in between."""

from __future__ import annotations

import re

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError, EngineUnreachable

_SEE_LISTENERS = ("cat", "/proc/net/tcp", "/proc/net/tcp6")
# As the kernels of amd64 and arm64 write them, word for word backwards: 127.x.y.z, also in IPv6, and ::1.
_LOOPBACK = re.compile(r"(?:0{16}FFFF0000)?.{6}7F|0{24}01000000")


def find_listeners(container_id: str, engine: Engine, *, is_near: bool = False) -> set[int] | None:
    """Find the ports on which a container listens for others; None where nothing tells.

    The kernel that this process shares with the containers (`is_near`) tells; elsewhere a program in the container.
    """
    # What runs already has no container that could be looked into.
    table = engine.read_connections(container_id) if container_id else None
    if table is None and not is_near:
        table = _read_inside(container_id, engine)
    if table is None:
        return None
    found = re.findall(r"^ *\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A ", table, re.MULTILINE)
    return {int(port, 16) for address, port in found if not _LOOPBACK.fullmatch(address)}


def _read_inside(container_id: str, engine: Engine) -> str | None:
    try:
        # Without IPv6 there is no second file, which the exit code tells.
        return engine.run_command(container_id, _SEE_LISTENERS).stdout or None
    except EngineUnreachable:
        raise
    except EngineError:
        return None
