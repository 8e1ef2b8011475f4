"""What the command line asks of an engine beyond what runs need: listings in full, logs as they come, its own facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from pytest_isolate.engine.docker.remover import LISTING_CONTAINERS
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.docker.wire import FRAME_HEAD_BYTES, as_query, take_frame


class ContainerFacts(Struct, frozen=True, kw_only=True):
    """A container as the engine lists it. `ports` are addresses outside by port inside."""

    container_id: str
    name: str
    image: str
    state: str
    status: str
    labels: Mapping[str, str]
    ports: Mapping[int, str]


class Inventory:
    """Questions to one engine."""

    def __init__(self, client: Http) -> None:
        self._http = client

    def containers(self, label: str) -> Sequence[ContainerFacts]:
        """Every container that carries a label of this name, running or not."""
        query = {"all": "true", **as_query({"label": [label]})}
        found = self._http.ask(LISTING_CONTAINERS, "GET", "/containers/json", query=query).json()
        return [container_facts(one) for one in found]

    def logs(self, container_id: str, *, tail: int | None, follow: bool) -> Iterator[tuple[int, bytes]]:
        """What a container has written, piece by piece, each with its stream; with `follow` until it ends."""
        what, path = "a container's log could not be read", f"/containers/{quote(container_id)}/logs"
        query = {"stdout": "true", "stderr": "true", "tail": "all" if tail is None else tail}
        raw = b""
        for piece in self._http.stream(what, path, {**query, "follow": "true" if follow else "false"}):
            raw += piece
            while (frame := take_frame(raw)) is not None:
                yield frame
                raw = raw[FRAME_HEAD_BYTES + len(frame[1]) :]

    def info(self) -> Mapping[str, Any]:
        """What the engine says of itself and of its machine."""
        found: Mapping[str, Any] = self._http.ask("the engine did not tell of itself", "GET", "/info").json()
        return found


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
