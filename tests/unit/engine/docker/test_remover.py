"""The small client that removes: its errors. That it removes is asked of a real engine, in tests/engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pytest_isolate.engine.docker.remover import Remover
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.errors import EngineError

LABELS = {"pytest-isolate.run": "abcd", "other": "x y"}


class Answers(BaseHTTPRequestHandler):
    """Answers every request with what the test has laid out."""

    status, body = 200, b"[]"
    refusals = 0
    refusal = (403, "error while removing network: network n has active endpoints")
    is_miscounting = False
    asked: list[str]

    def do_GET(self) -> None:
        is_version = self.path == "/version"
        if not is_version:
            self.asked.append(f"{self.command} {self.path}")
        status, body = (200, b'{"Version": "27.0"}') if is_version else (self.status, self.body)
        is_refused = self.is_miscounting and self.command == "DELETE"
        if type(self).refusals and not is_version:
            type(self).refusals -= 1
            is_refused = True
        if is_refused:
            status, body = self.refusal[0], json.dumps({"message": self.refusal[1]}).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Bench:
    def __init__(self) -> None:
        self.answers: Any = type("TheseAnswers", (Answers,), {"asked": []})
        self._server = HTTPServer(("127.0.0.1", 0), self.answers)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.remover = Remover(Http(f"tcp://127.0.0.1:{self._server.server_port}"))

    def lay_out(self, body: object, status: int = 200) -> None:
        self.answers.status, self.answers.body = status, json.dumps(body).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_all_labels_are_asked_for(bench: Bench) -> None:
    bench.remover.list_networks(LABELS)
    (asked,) = bench.answers.asked

    filters = json.loads(parse_qs(urlsplit(asked.split()[1]).query)["filters"][0])
    assert filters == {"label": ["pytest-isolate.run=abcd", "other=x y"]}


def test_stopped_containers_are_listed_too(bench: Bench) -> None:
    bench.lay_out([{"Id": "a"}, {"Id": "b"}])

    assert bench.remover.list_containers(LABELS) == ["a", "b"]
    assert "all=true" in bench.answers.asked[0]


@pytest.mark.parametrize("volumes", [None, []])
def test_no_volume_is_an_empty_list(bench: Bench, volumes: object) -> None:
    bench.lay_out({"Volumes": volumes})

    assert bench.remover.list_volumes(LABELS) == []


@pytest.mark.parametrize("kind", ["container", "network", "volume"])
@pytest.mark.parametrize(
    ("status", "text"), [(404, "No such thing"), (409, "removal of container x is already in progress")]
)
def test_what_is_gone_or_going_is_fine(bench: Bench, kind: str, status: int, text: str) -> None:
    bench.lay_out({"message": text}, status)

    getattr(bench.remover, f"remove_{kind}")("x")

    (asked,) = bench.answers.asked
    assert asked.partition("?")[0] == f"DELETE /v1.41/{kind}s/x"


@pytest.mark.parametrize("kind", ["container", "network", "volume"])
@pytest.mark.parametrize(("status", "text"), [(409, "volume is in use"), (500, "it is stuck"), (403, "not allowed")])
def test_refusal_is_an_error_that_says_why(bench: Bench, kind: str, status: int, text: str) -> None:
    bench.lay_out({"message": text}, status)

    with pytest.raises(EngineError) as caught:
        getattr(bench.remover, f"remove_{kind}")("x")

    assert text in str(caught.value)


def test_containers_go_with_their_anonymous_volumes(bench: Bench) -> None:
    bench.remover.remove_container("x")

    assert bench.answers.asked == ["DELETE /v1.41/containers/x?force=true&v=true"]


def test_a_container_that_ends_while_it_is_removed_is_removed_again(bench: Bench) -> None:
    """Podman 4.3."""
    text = "could not be stopped: sending SIGKILL to container x: container state improper: stopped"
    bench.answers.refusals, bench.answers.refusal = 2, (500, text)
    bench.remover.remove_container("x")
    assert len(bench.answers.asked) == 3

    bench.answers.refusals = 100
    with pytest.raises(EngineError, match="state improper"):
        bench.remover.remove_container("x")


def test_name_cannot_lead_elsewhere(bench: Bench) -> None:
    bench.remover.remove_volume("a b?c")

    assert bench.answers.asked == ["DELETE /v1.41/volumes/a%20b%3Fc?force=true"]


def test_check_asks_every_question_that_removing_will_ask(bench: Bench) -> None:
    bench.lay_out({"Volumes": []})
    bench.answers.body = b"{}"
    with pytest.raises(KeyError):
        bench.remover.check(LABELS)

    assert [asked.split("?")[0] for asked in bench.answers.asked] == [
        "GET /v1.41/containers/json",
        "GET /v1.41/networks",
        "GET /v1.41/volumes",
    ]


@pytest.mark.parametrize("status", [400, 404, 500])
def test_check_fails_when_a_question_is_refused(bench: Bench, status: int) -> None:
    bench.lay_out({"message": "invalid filter"}, status)

    with pytest.raises(EngineError, match="invalid filter"):
        bench.remover.check(LABELS)


def test_a_network_that_is_in_use_for_a_moment_is_waited_for_and_nothing_taken_off_it(bench: Bench) -> None:
    bench.answers.refusals = 2
    bench.remover.remove_network("n")

    assert bench.answers.asked == 3 * ["DELETE /v1.41/networks/n"]


def test_a_network_that_the_engine_miscounts_is_told_with_what_helps(bench: Bench) -> None:
    bench.answers.is_miscounting = True
    bench.lay_out({"Containers": {}})
    with pytest.raises(EngineError) as caught:
        bench.remover.remove_network("n")
    assert "no container is on it, and the engine counts one that is gone" in str(caught.value)
    assert "restart the engine: it counts anew when it starts" in str(caught.value)
