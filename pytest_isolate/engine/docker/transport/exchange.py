"""One request to an engine and its answer: over a connection of its own, or one that idles since another."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

from pytest_isolate.engine.docker.refusals import unreachable_error
from pytest_isolate.engine.docker.transport.carrier import end, explained
from pytest_isolate.engine.docker.transport.connections import ConnectionPool, Endpoint

# The longest single request: removing a container with a large volume took 1.7 s, so a minute means trouble.
REQUEST_TIMEOUT_S = 60
PIECE_BYTES = 1 << 20
# Requests that change nothing when they are carried out twice.
_REPEATABLE = ("GET", "HEAD")


class Content(Struct, frozen=True):
    """Body of a request, and its type."""

    kind: str
    content: bytes | Iterable[bytes]


class Exchange(Struct, frozen=True):
    """A request that was sent, and its answer, whose body is not read yet."""

    connection: http.client.HTTPConnection
    sock: socket.socket
    response: http.client.HTTPResponse
    idle: ConnectionPool | None = None
    given_back: list[bool] = field(default_factory=list)

    def hang_up(self) -> None:
        """End it for whoever reads; `close` still has to be called."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the engine has done so before us, or it is closed already

    def give_back(self) -> None:
        """The answer was read to its end: another request may use the connection, unless the engine has ended it."""
        if self.idle and self.connection.sock is not None and self.response.isclosed():
            self.given_back.append(True)
            self.idle.put(self.connection)

    def close(self) -> None:
        """Let go of the connection, unless it was given back."""
        self.response.close()
        if not self.given_back:
            end(self.connection)


class Reply(Struct, frozen=True, kw_only=True):
    """Answer of an engine to a request that it carried out."""

    what: str
    address: str
    content: bytes

    def json(self) -> Any:
        """The value in it; EngineUnreachable where there is none, for then it is no engine that answered."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            reason = f"it is not a container engine, it answered {self.content[:60]!r}"
            raise unreachable_error(self.what, self.address, reason) from error


def open_exchange(
    endpoint: Endpoint, idle: ConnectionPool, method: str, target: str, content: Content | None, timeout_s: float
) -> Exchange:
    """A request that was sent, as soon as its answer has begun."""
    kept = idle if endpoint.is_expensive else None
    waiting = kept.take() if kept else None
    if waiting:
        waiting.sock.settimeout(timeout_s)
        try:
            return _exchange(waiting, method, target, content, kept)
        except (http.client.RemoteDisconnected, ConnectionError):
            if method not in _REPEATABLE:
                raise
            # It has ended at the very moment that it was used again.
    return _exchange(endpoint.connection(timeout_s), method, target, content, kept)


def send_request(
    connection: http.client.HTTPConnection, method: str, target: str, content: Content | None
) -> socket.socket:
    """Send a request; the socket that the connection speaks over."""
    body, headers = (content.content, {"Content-Type": content.kind}) if content else (None, {})
    try:
        with explained(connection):
            if connection.sock is None:
                connection.connect()
            sock: socket.socket = connection.sock  # the connection forgets it where the answer ends with it
            try:
                connection.request(method, target, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # an engine that refuses need not read to the end: its answer says why
            return sock
    except BaseException:
        end(connection)
        raise


def read_head(sock: socket.socket) -> tuple[int, bytes]:
    """The status of an answer, and what has come behind its head."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = sock.recv(PIECE_BYTES)
        if not piece:
            raise http.client.RemoteDisconnected("it ended the connection without an answer")
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise http.client.BadStatusLine(head.decode(errors="replace"))
    return int(words[1]), rest


def reason_of(error: BaseException) -> str:
    """Reason why an engine could not be asked, in a few words."""
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
        return f"it is not a container engine, it answered {str(error)[:60]!r}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    content: Content | None,
    idle: ConnectionPool | None,
) -> Exchange:
    sock = send_request(connection, method, target, content)
    try:
        with explained(connection):
            return Exchange(connection, sock, connection.getresponse(), idle)
    except BaseException:
        end(connection)
        raise
