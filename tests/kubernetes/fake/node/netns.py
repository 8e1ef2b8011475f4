"""Network namespaces of containers. To enter one needs root."""

from __future__ import annotations

import ctypes
import os
import socket
import threading

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def enter(pid: int) -> None:
    """Bring the calling thread into the network of a process. Threads that it starts from then on are there, too."""
    handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if _LIBC.setns(handle, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter the network of process {pid}: {os.strerror(number)}")
    finally:
        os.close(handle)


def connect_inside(pid: int, port: int) -> socket.socket:
    """Connect to a port on the loopback of a container, as port-forward does; OSError where none listens."""
    found: list[socket.socket | OSError] = []

    def connect() -> None:
        try:
            enter(pid)
            found.append(_connect_local(port))
        except OSError as error:
            found.append(error)

    # A thread of its own: this one would be lost in the other network.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _connect_local(port: int) -> socket.socket:
    try:
        return socket.create_connection(("127.0.0.1", port))
    except OSError as error:
        try:
            return socket.create_connection(("::1", port))
        except OSError:
            raise error from None
