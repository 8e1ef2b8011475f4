"""HTTP to a container engine, with the standard library only: small enough for the guardian, quick enough for all else.

On this host each request has a connection of its own. To make one costs about 0.2 ms; in return none is ever found
stale, so no request has to be sent twice, and none is left open. To other hosts connections are used again.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pytest_isolate.engine.dialects import podman_version
from pytest_isolate.engine.discovery import (
    Candidate,
    find_candidates,
    find_certificates,
    read_docker_context,
    why_no_address,
)
from pytest_isolate.engine.transport import Endpoint, Idle, end, explained
from pytest_isolate.engine.wire import api_version, explanation, is_passing, refusal_error, unreachable_error
from pytest_isolate.errors import EngineError, EngineUnreachable

# An engine that is there says its version within milliseconds; one whose socket systemd holds has to start first.
_FIRST_ANSWER_S = 10
# The longest single request: removing a container with a large volume took 1.7 s, so a minute means trouble.
_REQUEST_TIMEOUT_S = 60
_PIECE_BYTES = 1 << 20
# Where an engine cannot answer a question only for a moment.
_PASSING_PAUSES_S = (0.05, 0.1, 0.2, 0.4)
# What Podman has beside Docker's API has versions of its own, all in use since Podman 4.
_LIBPOD_API = "4.0.0"
# "Switching protocols", and what engines before that said.
_HANDED_OVER = (101, 200)
# Requests that change nothing when they are carried out twice.
_REPEATABLE = ("GET", "HEAD")


def open_http(env: Mapping[str, str]) -> Http:
    """The first engine that answers; EngineUnreachable lists every address with its answer."""
    answers = []
    for candidate in find_candidates(env, lambda: read_docker_context(env, Path.home()), os.getuid()):
        client = open_candidate(candidate, env)
        answer = why_no_address(candidate.address) or why_no_engine(client)
        if not answer:
            return client
        client.close()
        answers.append(f"{candidate.address or 'no address'} ({candidate.named_by}): {answer}")
    raise EngineUnreachable(
        "no container engine answers",
        tried=answers,
        do="start one (on Debian: apt-get install docker.io; dockerd &), or name it in DOCKER_HOST",
    )


def open_address(address: str, env: Mapping[str, str]) -> Http:
    """The engine at an address, which is not asked yet."""
    return Http(Endpoint(address, find_certificates(env, address, Path.home())))


def open_candidate(candidate: Candidate, env: Mapping[str, str]) -> Http:
    """The engine at an address that was found, which is not asked yet."""
    if not candidate.certificates:
        return open_address(candidate.address, env)
    return Http(Endpoint(candidate.address, candidate.certificates, candidate.is_verified))


def why_no_engine(client: Http) -> str:
    """Why nobody answers as an engine does; empty where one does."""
    try:
        client.version()
    except EngineError as error:
        return _reason(error.__cause__) if error.__cause__ else "; ".join(error.found)
    return ""


class Http:
    """Requests to the engine at one address. Safe to use from several threads.

    Every method takes what its error shall say: ObjectNotFound, or another EngineError, where the engine refuses,
    EngineUnreachable where it does not answer.
    """

    def __init__(self, where: str | Endpoint) -> None:
        self.endpoint = where if isinstance(where, Endpoint) else Endpoint(where)
        self.address = self.endpoint.address
        self.idle = Idle()
        self._version: Mapping[str, Any] = {}

    def close(self) -> None:
        """End the connections that wait for another request."""
        self.idle.close()

    def version(self, what: str = "the engine did not say its version") -> Mapping[str, Any]:
        """What the engine says of itself, asked once."""
        # Podman listens on such a socket, and says in each answer what takes it long to tell when asked.
        if not self._version and self.address.startswith("unix://"):
            self._version = podman_version(*self._greet(what))
        if not self._version:
            found = self._send(what, "GET", "/version", None, _FIRST_ANSWER_S).json()
            if not isinstance(found, dict) or "Version" not in found:
                raise unreachable_error(what, self.address, "it is not a container engine")
            self._version = found
        return self._version

    def ask(
        self,
        what: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        archive: bytes | Iterable[bytes] | None = None,
        timeout_s: float | None = _REQUEST_TIMEOUT_S,
    ) -> Reply:
        """The engine's answer. The body is sent as JSON; the time-out is for each wait, None for what lasts."""
        content = None
        if archive is not None:
            content = _Content("application/x-tar", archive)
        elif body is not None:
            content = _Content("application/json", json.dumps(body).encode())
        target = self._target(what, path, query)
        for pause_s in _PASSING_PAUSES_S if method == "GET" else ():
            try:
                return self._send(what, method, target, content, timeout_s)
            except EngineError as error:
                if not is_passing(str(error)):
                    raise
            time.sleep(pause_s)
        return self._send(what, method, target, content, timeout_s)

    def save(self, what: str, path: str, query: Mapping[str, object], file: Path, most_bytes: int) -> bool:
        """Write an answer to a file; false, and no more is read, where it has more bytes than that."""
        with closing(self._open(what, self._target(what, path, query))) as exchange, file.open("wb") as saved:
            while chunk := self._read(what, exchange):
                if saved.tell() + len(chunk) > most_bytes:
                    return False
                saved.write(chunk)
        return True

    def stream(
        self, what: str, path: str, query: Mapping[str, object], timeout_s: float = _REQUEST_TIMEOUT_S
    ) -> Iterator[bytes]:
        """An answer as it comes, however long the next piece of it takes; the time-out is for its beginning."""
        with closing(self._open(what, self._target(what, path, query), timeout_s)) as exchange:
            exchange.sock.settimeout(None)
            with self._explained(what):
                while piece := exchange.response.read1(_PIECE_BYTES):
                    yield piece

    def follow(self, what: str, path: str, query: Mapping[str, object], *, begins_late: bool) -> Tail:
        """An answer that ends when what it tells of has ended.

        One that `begins_late`, with the first that there is to tell, says only then whether the engine refuses.
        """
        target = self._target(what, path, query)
        if not begins_late:
            exchange = self._open(what, target)
            return Tail(what, exchange.sock, lambda: exchange.response, exchange.close)
        connection = self.endpoint.connection(_REQUEST_TIMEOUT_S)
        with self._explained(what):
            sock = _request(connection, "GET", target, None)
        return Tail(what, sock, connection.getresponse, lambda: end(connection))

    def listen(self, what: str, path: str, query: Mapping[str, object]) -> Stream:
        """An answer without an end, of one JSON value a line."""
        exchange = self._open(what, self._target(what, path, query))
        exchange.sock.settimeout(None)
        return Stream(what, self.address, exchange)

    def converse(self, what: str, path: str, body: object) -> Line:
        """A line both ways, in place of an answer: the engine hands the connection to what it starts."""
        content = json.dumps(body).encode()
        target = self._target(what, path, None)
        with self._explained(what):
            connection = self.endpoint.line(_REQUEST_TIMEOUT_S)
            try:
                with explained(connection):
                    connection.connect()
                    headers = {"Content-Type": "application/json", "Connection": "Upgrade", "Upgrade": "tcp"}
                    connection.request("POST", target, content, headers)
                    status, rest = _read_head(connection.sock)
            except BaseException:
                end(connection)
                raise
        if status not in _HANDED_OVER:
            end(connection)
            raise refusal_error(what, status, explanation(rest))
        return Line(what, self.address, connection, rest)

    def _open(self, what: str, target: str, timeout_s: float = _REQUEST_TIMEOUT_S) -> _Exchange:
        """An answer that is read piece by piece."""
        with self._explained(what):
            exchange = _open_exchange(self, "GET", target, None, timeout_s)
        if exchange.response.status >= 400:
            with closing(exchange), self._explained(what):
                raise refusal_error(what, exchange.response.status, explanation(exchange.response.read()))
        return exchange

    def _read(self, what: str, exchange: _Exchange) -> bytes:
        with self._explained(what):
            chunk = exchange.response.read(_PIECE_BYTES)
            if not chunk and exchange.response.length:  # http.client tells this only of what is read as a whole
                raise http.client.IncompleteRead(chunk, exchange.response.length)
        return chunk

    def _target(self, what: str, path: str, query: Mapping[str, object] | None) -> str:
        tail = f"?{urlencode(query)}" if query else ""
        version = _LIBPOD_API if path.startswith("/libpod/") else api_version(self.version(what))
        return f"/v{version}{path}{tail}"

    def _greet(self, what: str) -> tuple[str, str]:
        """Which program answers, in its own words, and its version of the API."""
        with (
            self._explained(what),
            closing(_open_exchange(self, "GET", "/_ping", None, _FIRST_ANSWER_S)) as exchange,
        ):
            headers = exchange.response.headers
            return headers.get("Server", ""), headers.get("Api-Version", "")

    def _send(self, what: str, method: str, target: str, content: _Content | None, timeout_s: float | None) -> Reply:
        with (
            self._explained(what),
            closing(_open_exchange(self, method, target, content, timeout_s or _REQUEST_TIMEOUT_S)) as exchange,
        ):
            exchange.sock.settimeout(timeout_s)
            answer = exchange.response.read()
            exchange.give_back()
        if exchange.response.status >= 400:
            raise refusal_error(what, exchange.response.status, explanation(answer))
        return Reply(what=what, address=self.address, content=answer)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise unreachable_error(what, self.address, _reason(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an engine answered to a request that it carried out."""

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


class Stream:
    """The JSON values of an answer that goes on for as long as nobody closes it."""

    def __init__(self, what: str, address: str, exchange: _Exchange) -> None:
        self._what = what
        self._address = address
        self._exchange = exchange
        self._reading = threading.Lock()
        self._is_closed = False

    def __iter__(self) -> Iterator[Any]:
        """Each value; ends when it is closed, and with EngineUnreachable when the engine ends it."""
        while line := self._read():
            yield Reply(what=self._what, address=self._address, content=line).json()

    def close(self) -> None:
        """End the iteration, in whichever thread it runs. Safe to repeat."""
        self._is_closed = True
        # Wakes whoever reads; a descriptor that is closed while somebody reads from it may be another one's next.
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
        reason = _reason(error) if error else "it ended its answer"
        raise unreachable_error(self._what, self._address, reason) from error


class Tail:
    """An answer that is read as a whole, later."""

    def __init__(
        self, what: str, sock: socket.socket, begin: Callable[[], http.client.HTTPResponse], close: Callable[[], None]
    ) -> None:
        self._what = what
        self._sock = sock
        self._begin = begin
        self._close = close

    def read(self, timeout_s: float) -> bytes:
        """All of it; EngineError where it stops for so long."""
        self._sock.settimeout(timeout_s)
        try:
            with self._begin() as response:
                return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(self._what, found=_reason(error)) from error

    def close(self) -> None:
        """Let go of it. Safe to repeat."""
        self._close()


class Line:
    """A connection that carries bytes both ways."""

    def __init__(self, what: str, address: str, connection: http.client.HTTPConnection, received: bytes) -> None:
        self._what = what
        self._address = address
        self._connection = connection
        self._sock: socket.socket = connection.sock
        self._received = received

    def send(self, content: bytes) -> None:
        """Write all of it."""
        try:
            self._sock.settimeout(_REQUEST_TIMEOUT_S)
            self._sock.sendall(content)
        except OSError as error:
            raise unreachable_error(self._what, self._address, _reason(error)) from error

    def receive(self, timeout_s: float) -> bytes:
        """What comes next; empty at the end."""
        if self._received:
            received, self._received = self._received, b""
            return received
        try:
            self._sock.settimeout(timeout_s)
            return self._sock.recv(_PIECE_BYTES)
        except TimeoutError as error:
            raise EngineError(self._what, found=[f"no answer within {timeout_s:g} s"]) from error
        except OSError as error:
            raise unreachable_error(self._what, self._address, _reason(error)) from error

    def end_input(self) -> None:
        """Say that nothing more will be sent; what the other side says still comes."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has ended it all

    def take_received(self) -> bytes:
        """What had come already when the line was opened, once: nothing that waits for more would wake up for it."""
        received, self._received = self._received, b""
        return received

    def fileno(self) -> int:
        """For whoever waits for several things at once."""
        return self._sock.fileno()

    def close(self) -> None:
        """End it, also for whoever is receiving. Safe to repeat."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side has done so, or it is closed already
        self._sock.close()
        end(self._connection)


@dataclass(frozen=True, slots=True)
class _Content:
    kind: str
    content: bytes | Iterable[bytes]


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request that was sent, and its answer, whose body is not read yet."""

    connection: http.client.HTTPConnection
    sock: socket.socket
    response: http.client.HTTPResponse
    idle: Idle | None = None
    given_back: list[bool] = field(default_factory=list)

    def hang_up(self) -> None:
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
        self.response.close()
        if not self.given_back:
            end(self.connection)


def _open_exchange(client: Http, method: str, target: str, content: _Content | None, timeout_s: float) -> _Exchange:
    idle = client.idle if client.endpoint.is_dear else None
    waiting = idle.take() if idle else None
    if waiting:
        waiting.sock.settimeout(timeout_s)
        try:
            return _exchange(waiting, method, target, content, idle)
        except (http.client.RemoteDisconnected, ConnectionError):
            if method not in _REPEATABLE:
                raise
            # It has ended at the very moment that it was used again.
    return _exchange(client.endpoint.connection(timeout_s), method, target, content, idle)


def _exchange(
    connection: http.client.HTTPConnection, method: str, target: str, content: _Content | None, idle: Idle | None
) -> _Exchange:
    sock = _request(connection, method, target, content)
    try:
        with explained(connection):
            return _Exchange(connection, sock, connection.getresponse(), idle)
    except BaseException:
        end(connection)
        raise


def _request(
    connection: http.client.HTTPConnection, method: str, target: str, content: _Content | None
) -> socket.socket:
    """What a connection speaks over, once a request was sent."""
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


def _read_head(sock: socket.socket) -> tuple[int, bytes]:
    """The status of an answer, and what has come behind its head."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = sock.recv(_PIECE_BYTES)
        if not piece:
            raise http.client.RemoteDisconnected("it ended the connection without an answer")
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise http.client.BadStatusLine(head.decode(errors="replace"))
    return int(words[1]), rest


def _reason(error: BaseException) -> str:
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
        return f"it is not a container engine, it answered {str(error)[:60]!r}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
