"""A stream that another program carries."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

_PIECE_BYTES = 1 << 16


class TunnelledConnection(http.client.HTTPConnection):
    """A connection that something else carries, which has to be ended with it, and may know why it broke."""

    def explain(self) -> OSError | None:
        """Reason of its end; None where none is known."""
        raise NotImplementedError

    def end(self) -> None:
        """Close it, and what carries it. Safe to repeat."""
        raise NotImplementedError


class Duplex(Protocol):
    """A way for bytes in both directions that is no socket."""

    def read(self) -> bytes:
        """The next bytes; empty at the end."""

    def write(self, content: bytes) -> None:
        """Send all of it."""

    def end_input(self) -> None:
        """Say that nothing more will be sent."""

    def close(self) -> None:
        """Close it, also under a thread that reads. Safe to repeat."""


def open_pumped(carried: Duplex) -> socket.socket:
    """A socket that speaks over something else; that is closed when both directions have ended."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with suppress(OSError):
            while piece := theirs.recv(_PIECE_BYTES):
                carried.write(piece)
            carried.end_input()

    def receive() -> None:
        with suppress(OSError):
            while piece := carried.read():
                theirs.sendall(piece)
        with suppress(OSError):
            theirs.shutdown(socket.SHUT_WR)
        sender.join()
        theirs.close()
        carried.close()

    sender = threading.Thread(target=send, name="isolate-pump", daemon=True)
    sender.start()
    threading.Thread(target=receive, name="isolate-pump", daemon=True).start()
    return ours


def end(connection: http.client.HTTPConnection) -> None:
    """Close a connection, and whatever carries it."""
    if isinstance(connection, TunnelledConnection):
        connection.end()
    else:
        connection.close()


@contextmanager
def explained(connection: http.client.HTTPConnection) -> Iterator[None]:
    """Let what carries a connection tell of its failures: it knows more than that it ended."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = connection.explain() if isinstance(connection, TunnelledConnection) else None
        if reason is None:
            raise
        raise reason from error
