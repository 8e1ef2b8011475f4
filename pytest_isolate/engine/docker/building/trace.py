"""Progress of a build by BuildKit, from the records that it adds to the engine's answer. Pure.

Messages: moby/buildkit, api/services/control/control.proto, StatusResponse.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from msgspec import Struct

from pytest_isolate.engine.api import Progress
from pytest_isolate.engine.docker.building.protobuf import Fields, bytes_in, decode, messages_in, number_in, text_in
from pytest_isolate.text import plain_text

TRACE = "moby.buildkit.trace"
# "[2/7] RUN make", and with several stages "[build 2/3] COPY . .", "[linux/amd64 build 2/3] ...".
_STEP = re.compile(r"\[(?:(?P<stage>[^\]]*?) )?(?P<number>\d+)/(?P<count>\d+)\] (?P<text>.*)", re.DOTALL)
_MOST_LINES = 200


class Failure(Struct, frozen=True, kw_only=True):
    """A step that failed, the last lines that it printed, and what else was said of it."""

    step: str
    output: list[str]
    error: str


class Step(Struct, frozen=True, kw_only=True):
    """A step of a Dockerfile, as BuildKit names it."""

    stage: str
    number: int
    count: int
    text: str


def read_step(name: str) -> Step | None:
    """The step that a name stands for; None for other work."""
    match = _STEP.fullmatch(name)
    if not match:
        return None
    return Step(stage=match["stage"] or "", number=int(match["number"]), count=int(match["count"]), text=match["text"])


class Trace:
    """Steps of a build as they begin and end. `failed_step` is the step that failed, with its `output`."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._begun: set[str] = set()
        self._cached: set[str] = set()
        self._counts: dict[str, int] = {}
        self._logs: dict[str, bytes] = {}
        self.failed_step = ""
        self._failed = ""

    def add(self, aux: str) -> Iterator[Progress]:
        """Take in a record; yield what is new of it for people."""
        status = decode(base64.b64decode(aux))
        for log in messages_in(status, 3):
            key = text_in(log, 1)
            self._logs[key] = self._logs.get(key, b"") + bytes_in(log, 4)
        for vertex in messages_in(status, 1):
            yield from self._add_vertex(vertex)

    @property
    def output(self) -> list[str]:
        """The last lines that the failed step has printed."""
        text = plain_text(self._logs.get(self._failed, b"").decode(errors="replace"))
        return [line.rstrip() for line in text.splitlines() if line.strip()][-_MOST_LINES:]

    def _add_vertex(self, vertex: Fields) -> Iterator[Progress]:
        key, name, error = text_in(vertex, 1), text_in(vertex, 3), text_in(vertex, 7)
        self._names[key] = name
        step = read_step(name)
        if step:
            self._counts[step.stage] = step.count
        if error and not self.failed_step and "context canceled" not in error:
            self._failed, self.failed_step = key, name
        # Of an image that the engine has, "cached" says nothing.
        is_cached = bool(number_in(vertex, 4)) and not (step and step.text.startswith("FROM "))
        # A step from the cache is told of when it begins, and once more when it is known to be one.
        if 5 not in vertex or (key in self._begun and (not is_cached or key in self._cached)):
            return
        self._begun.add(key)
        if is_cached:
            self._cached.add(key)
        if step:
            done = sum(read_step(self._names[begun]) is not None for begun in self._begun)
            text = f"{step.text} (cached)" if is_cached else step.text
            yield Progress(text=text, done=done, total=max(done, sum(self._counts.values())), unit="steps")
        elif name and not name.startswith("[internal]"):
            yield Progress(text=name)
