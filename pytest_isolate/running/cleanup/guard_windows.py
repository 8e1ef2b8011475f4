"""The guardian on Windows: a thread that waits for the watched process, and a TCP port with a token.

Sockets cannot be handed over there. No port has to be held there either: engines run in virtual machines.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack

from pytest_isolate.engine.api import LOOPBACK
from pytest_isolate.running.cleanup.watched import Watched, poll_process

# The right to wait for a process (winnt.h).
_SYNCHRONIZE = 0x00100000


def listen(name: str, _stack: ExitStack) -> tuple[str, socket.socket, bytes]:
    """A port that any user may connect to; the name is the token, which clients say first."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if sys.platform == "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)  # no other program may have it too
    listener.bind((LOOPBACK, 0))
    listener.listen(128)
    return f"{listener.getsockname()[1]} {name}", listener, name.encode()


def connect(address: str, timeout_s: float) -> socket.socket:
    """A connection that has said its token."""
    port, _, token = address.partition(" ")
    link = socket.create_connection((LOOPBACK, int(port)), timeout_s)
    try:
        link.sendall(token.encode())
    except BaseException:
        link.close()
        raise
    return link


def watch(pid: int, start_time: str) -> Watched:
    """A connection that closes when the process has ended."""
    if sys.platform == "win32":
        import _winapi

        handle = _winapi.OpenProcess(_SYNCHRONIZE, False, pid)
        waiting, ended = socket.socketpair()

        def wait() -> None:
            _winapi.WaitForSingleObject(handle, _winapi.INFINITE)
            ended.close()

        threading.Thread(target=wait, daemon=True).start()
        return waiting
    return poll_process(pid, start_time)


def send_sockets(_link: socket.socket, _message: bytes, _descriptors: Sequence[int]) -> None:
    """Hand nothing over."""


def receive(client: socket.socket) -> tuple[bytes, list[int]]:
    """A message."""
    return client.recv(64), []
