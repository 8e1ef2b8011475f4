"""HTTP to a container engine, with the standard library only: small enough for the guardian, quick enough for all else.

On this host each request has a connection of its own. To make one costs about 0.2 ms; in return none is ever found
stale, so no request has to be sent twice, and none is left open. To other hosts connections are used again.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from pytest_isolate.engine.docker.dialects import api_version, podman_version
from pytest_isolate.engine.docker.refusals import explanation, is_passing, refusal_error, unreachable_error
from pytest_isolate.engine.docker.transport.carrier import end, explained
from pytest_isolate.engine.docker.transport.connections import ConnectionPool, Endpoint
from pytest_isolate.engine.docker.transport.discovery import (
    Candidate,
    candidates_here,
    find_certificates,
    why_no_address,
)
from pytest_isolate.engine.docker.transport.exchange import (
    PIECE_BYTES,
    REQUEST_TIMEOUT_S,
    Content,
    Exchange,
    Reply,
    open_exchange,
    read_head,
    reason_of,
    send_request,
)
from pytest_isolate.engine.docker.transport.streams import JsonStream, LogFollower, RawConnection
from pytest_isolate.errors import EngineError, EngineUnreachable
from pytest_isolate.system import SYSTEM, System

# An engine that is there says its version within milliseconds; one whose socket systemd holds has to start first.
_FIRST_ANSWER_S = 10
# A build may wait for others before there is anything to tell of it.
_BEGINS_WITHIN_S = 3600
# Where an engine cannot answer a question only for a moment.
_PASSING_PAUSES_S = (0.05, 0.1, 0.2, 0.4)
# What Podman has beside Docker's API has versions of its own, all in use since Podman 4.
_LIBPOD_API = "4.0.0"
_PODMAN_MACHINE = re.compile(r"podman[-/]machine")
_START = {
    System.LINUX: "on Debian: apt-get install docker.io; dockerd &",
    System.MACOS: "Docker Desktop, OrbStack, Rancher Desktop, or: colima start",
    System.WINDOWS: "Docker Desktop, Rancher Desktop, or: podman machine start",
}
_WINDOWS_CONTAINERS = (
    "it runs containers of Windows, and services are containers of Linux: switch Docker Desktop to Linux containers "
    "(docker context use desktop-linux), or use an engine in WSL2"
)
# "Switching protocols", and what engines before that said.
_HANDED_OVER = (101, 200)
_Answer = TypeVar("_Answer")


def open_http(env: Mapping[str, str]) -> Http:
    """The first engine that answers; EngineUnreachable lists every address with its answer."""
    answers = []
    for candidate in candidates_here(env):
        client = open_candidate(candidate, env)
        answer = why_no_address(candidate.address) or why_no_engine(client)
        if not answer:
            return client
        client.close()
        answers.append(f"{candidate.address or 'no address'} ({candidate.named_by}): {answer}")
    raise EngineUnreachable(
        "no container engine answers",
        tried=answers,
        do=f"start one ({_START[SYSTEM]}), or name it in DOCKER_HOST",
    )


def open_candidate(candidate: Candidate, env: Mapping[str, str]) -> Http:
    """The engine at an address that was found, which is not asked yet."""
    if not candidate.certificates:
        return Http(Endpoint(candidate.address, find_certificates(env, candidate.address, Path.home())))
    return Http(Endpoint(candidate.address, candidate.certificates, candidate.is_verified))


def why_no_engine(client: Http) -> str:
    """Reason why no engine answers that runs containers of Linux; empty where one does."""
    try:
        version = client.version()
    except EngineError as error:
        return reason_of(error.__cause__) if error.__cause__ else "; ".join(error.found)
    return _WINDOWS_CONTAINERS if str(version.get("Os", "")).lower() == "windows" else ""


class Http:
    """Requests to the engine at one address. Safe to use from several threads.

    Every method takes what its error shall say: ObjectNotFound, or another EngineError, where the engine refuses,
    EngineUnreachable where it does not answer.
    """

    def __init__(self, where: str | Endpoint) -> None:
        self.endpoint = where if isinstance(where, Endpoint) else Endpoint(where)
        self.address = self.endpoint.address
        self.idle = ConnectionPool()
        self._version: Mapping[str, Any] = {}

    def close(self) -> None:
        """End the connections that wait for another request."""
        self.idle.close()

    def version(self, what: str = "the engine did not say its version") -> Mapping[str, Any]:
        """The engine's answer about itself, asked for once."""
        # Podman listens on such a socket, and says in each answer what takes it long to tell when asked; but not which
        # kernel it has, which that of a virtual machine is asked for.
        is_near = self.address.startswith(("unix://", "npipe://"))
        if not self._version and is_near and not _PODMAN_MACHINE.search(self.address):
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
        timeout_s: float | None = REQUEST_TIMEOUT_S,
    ) -> Reply:
        """The engine's answer. The body is sent as JSON; the time-out is for each wait, None for what lasts."""
        content = None
        if archive is not None:
            content = Content("application/x-tar", archive)
        elif body is not None:
            content = Content("application/json", json.dumps(body).encode())
        target = self._target(what, path, query)
        send = partial(self._send, what, method, target, content, timeout_s)
        return _repeat_while_passing(send) if method == "GET" else send()

    def save(self, what: str, path: str, query: Mapping[str, object], file: Path, most_bytes: int) -> bool:
        """Write an answer to a file; false, and no more is read, where it has more bytes than that."""
        with closing(self._open(what, self._target(what, path, query))) as exchange, file.open("wb") as saved:
            while chunk := self._read(what, exchange):
                if saved.tell() + len(chunk) > most_bytes:
                    return False
                saved.write(chunk)
        return True

    def head(self, what: str, path: str, query: Mapping[str, object]) -> http.client.HTTPMessage:
        """Headers of an answer that has no body."""
        with closing(self._open(what, self._target(what, path, query), method="HEAD")) as exchange:
            return exchange.response.headers

    def read_first(self, what: str, path: str, query: Mapping[str, object], size_bytes: int) -> bytes:
        """The first bytes of an answer; the rest is not waited for."""
        with closing(self._open(what, self._target(what, path, query))) as exchange, self._explained(what):
            return exchange.response.read(size_bytes)

    def stream(
        self,
        what: str,
        path: str,
        query: Mapping[str, object],
        timeout_s: float = REQUEST_TIMEOUT_S,
        piece_timeout_s: float | None = None,
    ) -> Iterator[bytes]:
        """An answer as it comes; the time-outs are for its beginning, and for each next piece: None for any time."""
        with closing(self._open_patiently(what, self._target(what, path, query), timeout_s)) as exchange:
            exchange.sock.settimeout(piece_timeout_s)
            with self._explained(what):
                while piece := exchange.response.read1(PIECE_BYTES):
                    yield piece

    def follow(self, what: str, path: str, query: Mapping[str, object], *, begins_late: bool) -> LogFollower:
        """An answer that ends when what it tells of has ended.

        One that `begins_late`, with the first that there is to tell, says only then whether the engine refuses.
        """
        target = self._target(what, path, query)
        if not begins_late:
            exchange = self._open(what, target)
            return LogFollower(what, exchange.sock, lambda: exchange.response, exchange.close)
        connection = self.endpoint.connection(REQUEST_TIMEOUT_S)
        with self._explained(what):
            sock = send_request(connection, "GET", target, None)
        return LogFollower(what, sock, connection.getresponse, lambda: end(connection))

    def stream_json(self, what: str, path: str, query: Mapping[str, object]) -> JsonStream:
        """An answer without an end, of one JSON value a line."""
        exchange = self._open(what, self._target(what, path, query))
        exchange.sock.settimeout(None)
        return JsonStream(what, self.address, exchange)

    def post_for_json(self, what: str, path: str, query: Mapping[str, object]) -> Generator[Any, None, None]:
        """The JSON values of an answer that ends with the work that it tells of, however long each takes."""
        exchange = self._open(what, self._target(what, path, query), _BEGINS_WITHIN_S, "POST")
        with closing(exchange):
            exchange.sock.settimeout(None)
            with self._explained(what):
                while line := exchange.response.readline():
                    if line.strip():
                        yield Reply(what=what, address=self.address, content=line).json()

    def hijack(
        self, what: str, path: str, body: object = None, headers: Sequence[tuple[str, str]] = (), upgrade: str = "tcp"
    ) -> RawConnection:
        """A line both ways, in place of an answer: the engine hands the connection to what it starts."""
        content = b"" if body is None else json.dumps(body).encode()
        kind = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))] if content else []
        target = self._target(what, path, None)
        with self._explained(what):
            connection = self.endpoint.line(REQUEST_TIMEOUT_S)
            try:
                with explained(connection):
                    connection.connect()
                    connection.putrequest("POST", target)
                    for name, value in (*kind, ("Connection", "Upgrade"), ("Upgrade", upgrade), *headers):
                        connection.putheader(name, value)  # one may come more than once
                    connection.endheaders(content)
                    status, rest = read_head(connection.sock)
            except BaseException:
                end(connection)
                raise
        if status not in _HANDED_OVER:
            end(connection)
            raise refusal_error(what, status, explanation(rest))
        return RawConnection(what, self.address, connection, rest)

    def _open_patiently(self, what: str, target: str, timeout_s: float) -> Exchange:
        return _repeat_while_passing(partial(self._open, what, target, timeout_s))

    def _open(self, what: str, target: str, timeout_s: float = REQUEST_TIMEOUT_S, method: str = "GET") -> Exchange:
        """An answer that is read piece by piece."""
        with self._explained(what):
            exchange = open_exchange(self.endpoint, self.idle, method, target, None, timeout_s)
        if exchange.response.status >= 400:
            with closing(exchange), self._explained(what):
                raise refusal_error(what, exchange.response.status, explanation(exchange.response.read()))
        return exchange

    def _read(self, what: str, exchange: Exchange) -> bytes:
        with self._explained(what):
            chunk = exchange.response.read(PIECE_BYTES)
            if not chunk and exchange.response.length:  # http.client tells this only of what is read as a whole
                raise http.client.IncompleteRead(chunk, exchange.response.length)
        return chunk

    def _target(self, what: str, path: str, query: Mapping[str, object] | None) -> str:
        tail = f"?{urlencode(query, doseq=True)}" if query else ""
        version = _LIBPOD_API if path.startswith("/libpod/") else api_version(self.version(what))
        return f"/v{version}{path}{tail}"

    def _greet(self, what: str) -> tuple[str, str]:
        """Name of the program that answers, and its version of the API."""
        with (
            self._explained(what),
            closing(open_exchange(self.endpoint, self.idle, "GET", "/_ping", None, _FIRST_ANSWER_S)) as exchange,
        ):
            headers = exchange.response.headers
            return headers.get("Server", ""), headers.get("Api-Version", "")

    def _send(self, what: str, method: str, target: str, content: Content | None, timeout_s: float | None) -> Reply:
        with (
            self._explained(what),
            closing(
                open_exchange(self.endpoint, self.idle, method, target, content, timeout_s or REQUEST_TIMEOUT_S)
            ) as exchange,
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
            raise unreachable_error(what, self.address, reason_of(error)) from error


def _repeat_while_passing(ask: Callable[[], _Answer]) -> _Answer:
    """The answer to a question, asked again where the engine cannot answer it only for a moment."""
    for pause_s in _PASSING_PAUSES_S:
        try:
            return ask()
        except EngineError as error:
            if not is_passing(str(error)):
                raise
        time.sleep(pause_s)
    return ask()
