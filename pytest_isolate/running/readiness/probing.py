"""Ask one probe once: over a socket, over HTTP, or through the engine."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError, EngineUnreachable
from pytest_isolate.model.endpoint import Endpoint, Port
from pytest_isolate.model.probes import Answer, Command, Ended, Http, Log, NotYet, Probe, Ready, Tcp
from pytest_isolate.running.readiness.listeners import find_listeners
from pytest_isolate.running.readiness.log_questions import LogQuestions

_CONNECT_S = 1.0
_ANSWER_S = 2.0
# An engine's proxy that finds no listener behind it hangs up within a millisecond; a server that waits for its client
# to speak first stays silent. This is how long silence must last to count: or so many times the way there and back,
# which the hanging up takes too.
_SILENCE_S = 0.1
_SILENCE_ROUND_TRIPS = 3
# Forwarders into another machine take the connection themselves, and hang up after a while (0.15 s was seen). Their
# silence counts when the container is seen to listen; where that cannot be seen, when it lasts as long as this.
_FORWARDED_SILENCE_S = 1.0
_READ_BYTES = 4096


class Target(Struct, frozen=True, kw_only=True):
    """A target of probes: a container, its ports as the test side sees them, and the readings of its log."""

    container_id: str
    endpoints: Mapping[Port, Endpoint]
    main_port: int | None
    logs: LogQuestions | None = None

    def endpoint(self, port: int | None) -> Endpoint:
        """The test side's view of a port, the main one by default. The declaration was checked to have it."""
        inner = port or self.main_port
        assert inner is not None
        return self.endpoints[inner]


def ask(probe: Probe, target: Target, engine: Engine) -> Answer:
    """One answer, Ready or NotYet; only an engine that is gone raises."""
    return _ASKED[type(probe)](probe, target, engine)


def _ask_tcp(probe: Tcp, target: Target, engine: Engine) -> Answer:
    endpoint = target.endpoint(probe.port)
    began = time.monotonic()
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=_CONNECT_S) as sock:
            silence_s = max(_SILENCE_S, _SILENCE_ROUND_TRIPS * (time.monotonic() - began))
            if probe.send:
                sock.sendall(probe.send)
            if probe.expect is None:
                answer = _read_silence(sock, silence_s)
                return answer or _ask_behind_forwarder(sock, probe, target, engine)
            return _read_expected(sock, re.compile(probe.expect.encode("latin-1")))
    except TimeoutError:
        return NotYet("no answer")
    except OSError as error:
        return NotYet((error.strerror or str(error)).lower())


def _read_silence(sock: socket.socket, silence_s: float) -> Answer | None:
    """Read an answer; None where none comes in this time."""
    sock.settimeout(silence_s)
    try:
        return Ready() if sock.recv(1) else NotYet("connection closed at once")
    except TimeoutError:
        return None


def _ask_behind_forwarder(sock: socket.socket, probe: Tcp, target: Target, engine: Engine) -> Answer:
    """Judge a silent connection by what the container listens on: on a busy machine a forwarder hangs up late."""
    port, is_near = probe.port or target.main_port, engine.facts().shares_kernel
    listeners = find_listeners(target.container_id, engine, is_near=is_near)
    if listeners is None:
        return Ready() if is_near else _read_silence(sock, _FORWARDED_SILENCE_S) or Ready()
    return Ready() if port in listeners else NotYet(f"nothing listens on port {port} in the container")


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


def _ask_log(probe: Log, target: Target, _: Engine) -> Answer:
    assert target.logs is not None  # only what is asked over the network is asked of a service without a container
    return target.logs.ask(probe)


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
