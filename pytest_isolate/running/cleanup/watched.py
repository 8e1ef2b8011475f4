"""Processes whose end is waited for; where the system tells of none, the process is asked for again and again."""

from __future__ import annotations

import socket
from typing import Protocol

_PAUSE_S = 0.1


class Watched(Protocol):
    """Readable when a process has ended."""

    def fileno(self) -> int:
        """Descriptor to select on."""


def poll_process(pid: int, start_time: str) -> socket.socket:
    """A connection that closes when the process has ended; ProcessLookupError where it is gone already."""
    import threading
    import time

    from pytest_isolate.sharing.owners import read_start_time  # not needed on Linux, where the guardian stays small

    if read_start_time(pid) != start_time:
        raise ProcessLookupError(f"process {pid} is gone")
    waiting, ended = socket.socketpair()

    def wait() -> None:
        while read_start_time(pid) == start_time:
            time.sleep(_PAUSE_S)
        ended.close()

    threading.Thread(target=wait, daemon=True).start()
    return waiting
