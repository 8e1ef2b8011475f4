"""Progress of a build, from BuildKit's own records."""

from __future__ import annotations

import base64

import pytest

from pytest_isolate.engine.docker.building.protobuf import encode
from pytest_isolate.engine.docker.building.trace import Trace, read_step


def vertex(name: str, *, begun: bool = True, cached: bool = False, error: str = "") -> bytes:
    times = [(5, [encode((1, 1))])] if begun else []
    return encode((1, f"sha256:{name}"), (3, name), (4, int(cached)), *times, (7, error))


def log(name: str, text: str) -> bytes:
    return encode((1, f"sha256:{name}"), (4, text))


def record(*vertices: bytes, logs: tuple[bytes, ...] = ()) -> str:
    return base64.b64encode(encode((1, vertices), (3, logs))).decode()


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("[2/7] RUN make", ("", 2, 7, "RUN make")),
        ("[build 2/3] COPY . .", ("build", 2, 3, "COPY . .")),
        ("[linux/amd64 build 2/3] RUN a\nb", ("linux/amd64 build", 2, 3, "RUN a\nb")),
        ("[internal] load .dockerignore", None),
        ("exporting to image", None),
    ],
)
def test_steps_are_known_by_their_names(name: str, step: tuple[str, int, int, str] | None) -> None:
    found = read_step(name)
    assert (found and (found.stage, found.number, found.count, found.text)) == step


def test_a_step_is_told_once_when_it_begins_with_those_of_all_stages_counted() -> None:
    trace = Trace()
    first = record(
        vertex("[a 1/2] FROM x"), vertex("[a 2/2] RUN y", begun=False), vertex("[b 1/3] FROM z", begun=False)
    )
    told = [*trace.add(first), *trace.add(record(vertex("[a 1/2] FROM x"), vertex("[a 2/2] RUN y")))]
    assert [(p.text, p.done, p.total) for p in told] == [("FROM x", 1, 2), ("RUN y", 2, 5)]


def test_a_step_of_the_cache_is_told_as_such_also_where_that_is_known_later() -> None:
    trace = Trace()
    told = [*trace.add(record(vertex("[2/2] RUN y"))), *trace.add(record(vertex("[2/2] RUN y", cached=True)))]
    told += trace.add(record(vertex("[2/2] RUN y", cached=True)))
    assert [p.text for p in told] == ["RUN y", "RUN y (cached)"]


def test_a_step_that_failed_has_its_own_lines_only() -> None:
    trace = Trace()
    logs = (log("[1/2] RUN a", "fine\n"), log("[2/2] RUN b", "one\ntw"), log("[2/2] RUN b", "o\x1b[31m!\x1b[0m\n"))
    list(trace.add(record(vertex("[1/2] RUN a"), logs=logs)))
    list(
        trace.add(record(vertex("[1/2] RUN a", error="context canceled"), vertex("[2/2] RUN b", error="exit code: 1")))
    )
    assert (trace.failed_step, trace.output) == ("[2/2] RUN b", ["one", "two!"])
