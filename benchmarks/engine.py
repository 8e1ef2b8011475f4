"""A container engine on a unix socket, spoken to with the standard library only: for limit.py and leftovers.py."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

TIMEOUT_S = 120


class RefusedError(Exception):
    """The engine answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Engine:
    """Requests to an engine; each thread has a connection of its own, and keeps it."""

    def __init__(self, address: str) -> None:
        if not address.startswith("unix://"):
            raise SystemExit(f"the benchmarks need an engine on a unix socket, not {address}")
        self._path = address.removeprefix("unix://")
        self._of_thread = threading.local()

    def call(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """The answer, read as JSON; None where it is empty. RefusedError where the engine refuses."""
        connection = self._connection()
        text = None if body is None else json.dumps(body)
        connection.request(method, _with_query(path, query), text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RefusedError(answer.status, content.decode(errors="replace"))
        return json.loads(content) if content else None

    def stream_events(self) -> EventStream:
        """What happens from now on."""
        connection = _UnixConnection(self._path, timeout=None)
        connection.request("GET", "/events")
        return EventStream(connection, connection.getresponse())

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._of_thread, "connection"):
            self._of_thread.connection = _UnixConnection(self._path, timeout=TIMEOUT_S)
        connection: http.client.HTTPConnection = self._of_thread.connection
        return connection


class EventStream:
    """The engine's events, one by one, until `close` is called from another thread."""

    def __init__(self, connection: _UnixConnection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._answer = answer

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            while line := self._answer.readline():
                yield json.loads(line)
        except (OSError, ValueError, http.client.HTTPException):
            return  # closed in the middle of a line

    def close(self) -> None:
        self._connection.hang_up()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._stream_socket: socket.socket | None = None

    def connect(self) -> None:
        self.sock = self._stream_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def hang_up(self) -> None:
        """End a read that waits in another thread."""
        if self._stream_socket is not None:
            self._stream_socket.shutdown(socket.SHUT_RDWR)
            self._stream_socket.close()


def _with_query(path: str, query: dict[str, object]) -> str:
    values = {name: value if isinstance(value, str | int) else json.dumps(value) for name, value in query.items()}
    return f"{quote(path)}?{urlencode(values)}" if values else quote(path)
