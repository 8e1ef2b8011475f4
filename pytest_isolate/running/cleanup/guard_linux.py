"""The guardian on Linux: a descriptor of the watched process, and an abstract socket, which ends with its process."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack

from pytest_isolate.running.cleanup import unix_socket

receive, send_sockets = unix_socket.receive, unix_socket.send_sockets


def listen(name: str, _stack: ExitStack) -> tuple[str, socket.socket, bytes]:
    """A socket of that name, which no file stands for."""
    return name, unix_socket.listen_at(f"\0{name}"), b""


def connect(address: str, timeout_s: float) -> socket.socket:
    """A connection to the guardian of that name."""
    return unix_socket.connect_to(f"\0{address}", timeout_s)


def watch(pid: int, _start_time: str) -> int:
    """A descriptor of the process."""
    if sys.platform != "linux":
        raise NotImplementedError
    return os.pidfd_open(pid)
