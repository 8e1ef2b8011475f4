"""A Docker engine with what the command line asks of it beyond what runs need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pytest_isolate.engine.command_api import ContainerFacts
from pytest_isolate.engine.docker.engine import DockerEngine
from pytest_isolate.engine.docker.exec_api import ATTACHED
from pytest_isolate.engine.docker.frames import FrameReader
from pytest_isolate.engine.docker.image_transfer import DockerImageTransfer
from pytest_isolate.engine.docker.remover import LISTING_CONTAINERS, as_query
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.docker.transport.streams import RawConnection
from pytest_isolate.errors import EngineError

_ANSWER_S = 60
_STDOUT = 1


class DockerCommandEngine(DockerEngine):
    """The engine of a command."""

    @property
    def image_transfer(self) -> DockerImageTransfer:
        return DockerImageTransfer(self._http)

    def list_facts(self, label: str) -> Sequence[ContainerFacts]:
        query = {"all": "true", **as_query({"label": [label]})}
        found = self._http.ask(LISTING_CONTAINERS, "GET", "/containers/json", query=query).json()
        return [container_facts(one) for one in found]

    def stream_log(self, container_id: str, *, tail: int | None, follow: bool) -> Iterator[tuple[int, bytes]]:
        what, path = "a container's log could not be read", f"/containers/{quote(container_id)}/logs"
        query = {"stdout": "true", "stderr": "true", "tail": "all" if tail is None else tail}
        reader = FrameReader()
        for piece in self._http.stream(what, path, {**query, "follow": "true" if follow else "false"}):
            yield from reader.feed(piece)

    def open_interactive(self, container_id: str, argv: Sequence[str], *, terminal: str) -> DockerInteractive:
        env = [f"TERM={terminal}"] if terminal else []
        options = {**ATTACHED, "Tty": bool(terminal), "Env": env}
        what, command = self._create_exec(container_id, argv, options)
        line = self._http.hijack(what, f"{command}/start", {"Detach": False, "Tty": bool(terminal)})
        return DockerInteractive(self._http, what, command, line, is_terminal=bool(terminal))


class DockerInteractive:
    """A command in a container, over the connection that the engine has handed over to it."""

    def __init__(self, client: Http, what: str, command: str, line: RawConnection, *, is_terminal: bool) -> None:
        self._http = client
        self._what = what
        self._command = command
        self._line = line
        # A terminal's output is one stream, without frames.
        self._reader = None if is_terminal else FrameReader()

    def fileno(self) -> int:
        return self._line.fileno()

    def send(self, content: bytes) -> None:
        self._line.send(content)

    def end_input(self) -> None:
        self._line.end_input()

    def receive(self, *, is_ready: bool) -> Sequence[tuple[int, bytes]] | None:
        received = self._line.receive(_ANSWER_S) if is_ready else self._line.take_received()
        if is_ready and not received:
            return None
        return self._reader.feed(received) if self._reader else [(_STDOUT, received)]

    def resize(self, columns: int, lines: int) -> None:
        path, query = f"{self._command}/resize", {"h": lines, "w": columns}
        try:
            self._http.ask("the terminal's size could not be told", "POST", path, query=query)
        except EngineError:
            pass  # it has ended, or has not begun: then its size does not matter

    def exit_code(self) -> int:
        return int(self._http.ask(self._what, "GET", f"{self._command}/json").json()["ExitCode"])

    def close(self) -> None:
        self._line.close()


def container_facts(found: Mapping[str, Any]) -> ContainerFacts:
    """One entry of an answer to `GET /containers/json`."""
    ports = {p["PrivatePort"]: f"{p['IP']}:{p['PublicPort']}" for p in found.get("Ports") or () if p.get("PublicPort")}
    return ContainerFacts(
        container_id=found["Id"],
        name=found["Names"][0].lstrip("/"),
        image=found["Image"],
        state=found["State"],
        status=found["Status"],
        labels=dict(found.get("Labels") or {}),
        ports=ports,
    )
