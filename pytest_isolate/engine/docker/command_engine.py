"""A Docker engine with what the command line asks of it beyond what runs need."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pytest_isolate.engine.command_api import ContainerFacts
from pytest_isolate.engine.docker.engine import DockerEngine
from pytest_isolate.engine.docker.exec_api import ATTACHED
from pytest_isolate.engine.docker.frames import FrameReader
from pytest_isolate.engine.docker.remover import LISTING_CONTAINERS, as_query
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.docker.transport.streams import RawConnection
from pytest_isolate.engine.image_archive import Parts, Store, read_images, write_images
from pytest_isolate.errors import EngineError
from pytest_isolate.model.endpoint import name_port

_ANSWER_S = 60
_STDOUT = 1
# An engine may write all of the images to a disk of its own before it says a word.
_TRANSFER_S = 1800
_LOADED = re.compile(r"^Loaded image(?: ID)?(?:\(s\))?: (\S+)", re.MULTILINE)
_LOADING = "the images could not be loaded"


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
    published = [p for p in found.get("Ports") or () if p.get("PublicPort")]
    ports = {name_port(p["PrivatePort"], p.get("Type") or "tcp"): f"{p['IP']}:{p['PublicPort']}" for p in published}
    return ContainerFacts(
        container_id=found["Id"],
        name=found["Names"][0].lstrip("/"),
        image=found["Image"],
        state=found["State"],
        status=found["Status"],
        labels=dict(found.get("Labels") or {}),
        ports=ports,
    )


class DockerImageTransfer:
    """Takes images out of one engine, and into it."""

    def __init__(self, client: Http) -> None:
        self._http = client

    def save(self, image_ids: Sequence[str], store: Store) -> list[Parts]:
        what = f"images could not be saved: {', '.join(image_ids)}"
        found: list[Parts] = []
        # One by one: engines do not say which image of several is which.
        for image_id in image_ids:
            pieces = self._http.stream(what, "/images/get", {"names": image_id}, _TRANSFER_S)
            try:
                (parts,) = read_images(pieces, store)
            except ValueError as error:
                raise EngineError(what, found=str(error), do="try it by hand: docker save") from error
            found.append(parts)
        return found

    def load(self, images: Sequence[Parts], store: Store) -> list[str]:
        pieces = write_images(images, store)
        answer = self._http.ask(
            _LOADING, "POST", "/images/load", query={"quiet": "true"}, archive=pieces, timeout_s=_TRANSFER_S
        )
        found = parse_loaded(answer.content.decode(errors="replace"))
        if len(found) != len(images):
            raise EngineError(_LOADING, found=f"{len(found)} of {len(images)} were: {', '.join(found)}")
        return found


def parse_loaded(answer: str) -> list[str]:
    """Images that an engine says it has loaded; EngineError where it says that it has not."""
    try:
        said = [json.loads(line) for line in answer.splitlines() if line.strip()]
    except ValueError:
        said = []
    errors = [str(one["error"]) for one in said if "error" in one]
    lines = _LOADED.findall("".join(str(one.get("stream", "")) for one in said))
    # Docker says a line for each, Podman all in one.
    found = [name for line in lines for name in line.split(",")]
    if errors or not found:
        raise EngineError(_LOADING, found=errors or [answer.strip()[:200] or "no answer"])
    return found
