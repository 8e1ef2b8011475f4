"""Ask one probe once: over a socket, over HTTP, or through the engine."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError, EngineUnreachable
from pytest_isolate.model.endpoint import Endpoint, Port
from pytest_isolate.model.probes import Answer, Command, Ended, Http, Log, NotYet, Probe, Ready, Tcp

_CONNECT_S = 1.0
_ANSWER_S = 2.0
# An engine's proxy that finds no listener behind it hangs up within a millisecond; a server that waits for its client
# to speak first stays silent. This is how long silence must last to count.
_SILENCE_S = 0.1
_READ_BYTES = 4096


class Target(Struct, frozen=True, kw_only=True):
    """A target of probes: a container, its ports as the test side sees them, and since when its log counts."""

    container_id: str
    endpoints: Mapping[Port, Endpoint]
    main_port: int | None
    started_at: float

    def endpoint(self, port: int | None) -> Endpoint:
        """The test side's view of a port, the main one by default. The declaration was checked to have it."""
        inner = port or self.main_port
        assert inner is not None
        return self.endpoints[inner]


def ask(probe: Probe, target: Target, engine: Engine) -> Answer:
    """One answer, Ready or NotYet; only an engine that is gone raises."""
    return _ASKED[type(probe)](probe, target, engine)


def _ask_tcp(probe: Tcp, target: Target, _: Engine) -> Answer:
    endpoint = target.endpoint(probe.port)
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=_CONNECT_S) as sock:
            if probe.send:
                sock.sendall(probe.send)
            if probe.expect is None:
                return _read_silence(sock)
            return _read_expected(sock, re.compile(probe.expect.encode("latin-1")))
    except TimeoutError:
        return NotYet("no answer")
    except OSError as error:
        return NotYet((error.strerror or str(error)).lower())


def _read_silence(sock: socket.socket) -> Answer:
    sock.settimeout(_SILENCE_S)
    try:
        return Ready() if sock.recv(1) else NotYet("connection closed at once")
    except TimeoutError:
        return Ready()


def _read_expected(sock: socket.socket, expected: re.Pattern[bytes]) -> Answer:
    sock.settimeout(_ANSWER_S)
    received = b""
    while len(received) < _READ_BYTES:
        try:
            chunk = sock.recv(_READ_BYTES)
        except TimeoutError:
            if received:
                break  # what it said tells more than that it stopped there
            raise
        if not chunk:
            break
        received += chunk
        if expected.search(received):
            return Ready()
    return NotYet(f"unexpected answer {received[:80]!r}" if received else "connection closed without an answer")


def _ask_http(probe: Http, target: Target, _: Engine) -> Answer:
    endpoint = target.endpoint(probe.port)
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=_ANSWER_S)
    try:
        connection.request(probe.method or "GET", probe.path, headers={"Connection": "close"})
        status = connection.getresponse().status
    except TimeoutError:
        return NotYet("no answer")
    except http.client.RemoteDisconnected:
        return NotYet("connection closed without an answer")
    except (OSError, http.client.HTTPException) as error:
        return NotYet(str(getattr(error, "strerror", None) or error).lower())
    finally:
        connection.close()
    wanted = status == probe.status if probe.status else status < 400
    return Ready() if wanted else NotYet(f"status {status}")


def _ask_log(probe: Log, target: Target, engine: Engine) -> Answer:
    text = engine.read_logs(target.container_id, since=target.started_at)
    found = len(re.findall(probe.pattern, text, re.MULTILINE))
    return Ready() if found >= probe.times else NotYet(f"found {found} of {probe.times} times")


def _ask_command(probe: Command, target: Target, engine: Engine) -> Answer:
    try:
        result = engine.run_command(target.container_id, probe.argv)
    except EngineUnreachable:
        raise
    except EngineError as error:
        return NotYet(" ".join(error.found) or error.what)
    if result.exit_code == 0:
        return Ready()
    said = (result.stderr or result.stdout).strip().splitlines()
    return NotYet(f"exit code {result.exit_code}" + (f": {said[-1]}" if said else ""))


_ASKED: Mapping[type[Probe], Callable[[Any, Target, Engine], Answer]] = {
    Command: _ask_command,
    Ended: lambda *_: NotYet("it still runs"),  # the engine tells of its end, which ends the wait
    Http: _ask_http,
    Log: _ask_log,
    Tcp: _ask_tcp,
}
"""The function that asks each. The only place besides `model.probes` that knows them all."""
