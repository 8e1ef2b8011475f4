"""Answers that last: a stream of values, one that is read as a whole when it has ended, a line both ways."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pytest_isolate.engine.docker.refusals import unreachable_error
from pytest_isolate.engine.docker.transport.carrier import end
from pytest_isolate.engine.docker.transport.exchange import PIECE_BYTES, REQUEST_TIMEOUT_S, Exchange, Reply, reason_of
from pytest_isolate.errors import EngineError


class JsonStream:
    """The JSON values of an answer that goes on until it is closed; EngineUnreachable when the engine ends it."""

    def __init__(self, what: str, address: str, exchange: Exchange) -> None:
        self._what = what
        self._address = address
        self._exchange = exchange
        self._reading = threading.Lock()
        self._is_closed = False

    def __iter__(self) -> Iterator[Any]:
        while line := self._read():
            yield Reply(what=self._what, address=self._address, content=line).json()

    def close(self) -> None:
        """End the iteration, in whichever thread it runs. Safe to repeat."""
        self._is_closed = True
        # Wakes the reader first: a descriptor that is closed under it may be that of another connection next.
        self._exchange.hang_up()
        with self._reading:
            self._exchange.close()

    def _read(self) -> bytes:
        """The next line; empty when it is closed."""
        error: Exception | None = None
        with self._reading:
            if self._is_closed:
                return b""
            try:
                line = self._exchange.response.readline()
            except (OSError, http.client.HTTPException) as broken:
                line, error = b"", broken
        if self._is_closed:
            return b""
        if line.endswith(b"\n"):
            return line
        reason = reason_of(error) if error else "it ended its answer"
        raise unreachable_error(self._what, self._address, reason) from error


class LogFollower:
    """An answer of which the end is read, later. It can be closed more than once."""

    def __init__(
        self, what: str, sock: socket.socket, begin: Callable[[], http.client.HTTPResponse], close: Callable[[], None]
    ) -> None:
        self._what = what
        self._sock = sock
        self._begin = begin
        self.close = close

    def read(self, timeout_s: float) -> Iterator[bytes]:
        """All of it in pieces; EngineError where it has no end within this time."""
        deadline = time.monotonic() + timeout_s
        try:
            self._sock.settimeout(timeout_s)
            with self._begin() as response:
                while piece := response.read1(PIECE_BYTES):
                    yield piece
                    # A log of many megabytes may be behind: its end is found sooner when that is asked for.
                    self._sock.settimeout(max(0.001, deadline - time.monotonic()))
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(self._what, found=reason_of(error)) from error


class RawConnection:
    """A connection that carries bytes both ways."""

    def __init__(self, what: str, address: str, connection: http.client.HTTPConnection, received: bytes) -> None:
        self._what = what
        self._address = address
        self._connection = connection
        self._sock: socket.socket = connection.sock
        self._received = received

    def send(self, content: bytes) -> None:
        try:
            self._sock.settimeout(REQUEST_TIMEOUT_S)
            self._sock.sendall(content)
        except OSError as error:
            raise unreachable_error(self._what, self._address, reason_of(error)) from error

    def receive(self, timeout_s: float | None) -> bytes:
        """The next bytes, waited for without an end where no time-out is given; empty at the end."""
        if self._received:
            return self.take_received()
        try:
            self._sock.settimeout(timeout_s)
            return self._sock.recv(PIECE_BYTES)
        except TimeoutError as error:
            raise EngineError(self._what, found=[f"no answer within {timeout_s:g} s"]) from error
        except OSError as error:
            raise unreachable_error(self._what, self._address, reason_of(error)) from error

    def end_input(self) -> None:
        """Say that nothing more will be sent; what the other side says still comes."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has ended it all

    def take_received(self) -> bytes:
        """Bytes that came before the line was handed over, once: nothing that waits for more would wake up for them."""
        received, self._received = self._received, b""
        return received

    def fileno(self) -> int:
        return self._sock.fileno()

    def hang_up(self) -> None:
        """End it under a thread that is receiving; `close` still has to be called."""
        # The socket's own method, for that of a TLS socket takes its TLS away under the reader.
        shutdown = (
            partial(socket.socket.shutdown, self._sock)
            if isinstance(self._sock, socket.socket)
            else self._sock.shutdown
        )
        try:
            shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side has done so, or it is closed already

    def close(self) -> None:
        """End it, also under a thread that is receiving. Safe to repeat."""
        self.hang_up()
        self._sock.close()
        end(self._connection)
