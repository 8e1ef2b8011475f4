"""Requests of the command to a pytest that it starts, and the replies: lines of JSON in a file.

A file, because output belongs to pytest, and an xdist worker has nothing else in common with the command.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

REQUEST_VARIABLE = "PYTEST_ISOLATE_REQUEST"
UP, PLAN, IMAGES = "up", "plan", "images"


class Request(Struct, frozen=True, kw_only=True):
    """A request; `names` are services and stacks to start, all that are declared where there are none."""

    what: str
    answers: str
    names: tuple[str, ...] = ()

    def encode(self) -> str:
        """A text for an environment variable; `read_request` reads it back."""
        return json.dumps(to_builtins(self))


def read_request(env: Mapping[str, str]) -> Request | None:
    """The request to this process; None where there is none."""
    text = env.get(REQUEST_VARIABLE)
    if not text:
        return None
    found = json.loads(text)
    return Request(what=found["what"], answers=found["answers"], names=tuple(found["names"]))


def send(request: Request, kind: str, **content: Any) -> None:
    """Append one answer. Several processes may do so at once: each is written with one call."""
    line = json.dumps({"kind": kind, **content}) + "\n"
    try:
        descriptor = os.open(request.answers, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return  # the command was killed, and its folder removed since
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class Replies:
    """The replies so far, each returned once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """The replies since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                lines = file.read()
        except FileNotFoundError:
            return
        complete = lines[: lines.rfind(b"\n") + 1]
        self._read += len(complete)
        yield from map(json.loads, complete.splitlines())
