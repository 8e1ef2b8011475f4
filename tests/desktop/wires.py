"""Sockets of the stand-in: listening, dialling what a line names, and carrying bytes between two of them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PIECE = 65536


def serve(listener: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Answer each connection in a thread of its own, until the listener is closed."""

    def run(client: socket.socket) -> None:
        with client, suppress(OSError):
            answer(client)

    def accept() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            in_thread(run, client)

    in_thread(accept)


def in_thread(work: Callable[..., None], *args: object) -> threading.Thread:
    """Begin some work."""
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def listen_at(path: Path) -> socket.socket:
    """A unix socket that listens."""
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def dial_path(path: Path) -> socket.socket:
    """A connection to a unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return sock


def serve_ports(path: Path) -> None:
    """Connect each client to the port of this side's loopback that its first line names."""

    def answer(client: socket.socket) -> None:
        port = int(read_until(client, b"\n"))
        with socket.create_connection(("127.0.0.1", port)) as sock:
            splice(client, sock)

    serve(listen_at(path), answer)


def dial_port(path: Path, port: int) -> socket.socket:
    """A connection to a port of the other side's loopback."""
    sock = dial_path(path)
    sock.sendall(b"%d\n" % port)
    return sock


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """What comes up to an end, and no byte more; less where the connection ends."""
    text = b""
    while not text.endswith(end) and (byte := sock.recv(1)):
        text += byte
    return text


def splice(left: socket.socket, right: socket.socket, late_s: float = 0) -> None:
    """Carry bytes both ways until both ways have ended; what comes from the right is late."""
    back = in_thread(_carry, right, left, late_s)
    _carry(left, right, 0)
    back.join()


def _carry(source: socket.socket, sink: socket.socket, late_s: float) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            time.sleep(late_s)
            sink.sendall(piece)
    time.sleep(late_s)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
