"""A program that serves as an engine for as long as it is needed: found, started, ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_for

from pytest_isolate.engine.connect import served
from pytest_isolate.engine.docker import podman
from pytest_isolate.engine.docker.podman import find_own_service, serving, wait_for_other
from pytest_isolate.engine.docker.transport.discovery import USUAL, Candidate
from pytest_isolate.errors import EngineUnreachable

SERVES = f"""#!{sys.executable} -IS
import os, socket, sys, time
assert sys.argv[1:3] == ["system", "service"] and sys.argv[3].startswith("--time="), sys.argv
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[4].removeprefix("unix://"))
sock.listen()
time.sleep(60)
"""

pytestmark = pytest.mark.linux


class Place:
    """A machine with a Podman, and one usual socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.usual = path / "usual.sock"
        self.env = {"PATH": str(path / "bin"), "XDG_RUNTIME_DIR": str(path / "run")}
        (path / "bin").mkdir()
        (path / "run").mkdir()
        self.install(SERVES)

    def install(self, text: str) -> None:
        program = self.path / "bin" / "podman"
        program.write_text(text)
        program.chmod(0o755)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    import tempfile  # paths of sockets are short

    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        usual = [Candidate(f"unix://{place.usual}", USUAL)]
        monkeypatch.setattr(podman, "candidates_here", lambda *_: usual)
        yield place


def test_service_is_found_where_nobody_listens(place: Place) -> None:
    own = find_own_service(place.env, "r1")
    assert own is not None
    assert own.program == str(place.path / "bin" / "podman")
    assert own.address == f"unix://{place.path}/run/pytest-isolate-podman-r1/podman.sock"
    assert find_own_service(place.env, "r1") == own


def test_without_the_program_there_is_none(place: Place) -> None:
    assert find_own_service({**place.env, "PATH": str(place.path)}, "r1") is None


def test_engine_that_listens_is_used_instead(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place.usual))
        other.listen()
        assert find_own_service(place.env, "r1") is None
        with served(place.env) as env:
            assert env == place.env
    assert find_own_service(place.env, "r1") is not None


def test_engine_that_is_named_is_used_instead_also_when_it_does_not_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [Candidate("unix:///no/such.sock", "DOCKER_HOST")]
    monkeypatch.setattr(podman, "candidates_here", lambda *_: named)
    assert find_own_service(place.env, "r1") is None


def test_service_serves_during_the_block_and_leaves_nothing(place: Place) -> None:
    with served(place.env) as env:
        address = env["DOCKER_HOST"].removeprefix("unix://")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address)
        assert Path(address).parent.stat().st_mode & 0o777 == 0o700
    assert list((place.path / "run").iterdir()) == []


def test_service_that_somebody_has_started_goes_before_an_engine_that_came_later(place: Place) -> None:
    own = find_own_service(place.env, "r1")
    assert own is not None
    with serving(own), socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place.usual))
        other.listen()
        assert find_own_service(place.env, "r1") == own


def test_service_that_is_killed_meanwhile_is_no_trouble_at_the_end(place: Place) -> None:
    own = find_own_service(place.env, "r1")
    assert own is not None
    with serving(own):
        (pid,) = (int(p.name) for p in Path("/proc").glob("[0-9]*") if own.address in _command(p))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert list((place.path / "run").iterdir()) == []


def test_child_that_listens_ends_although_nobody_else_tells_it(place: Place) -> None:
    place.install(SERVES.replace("assert", "if os.fork(): time.sleep(60)\nassert", 1))
    own = find_own_service(place.env, "r1")
    assert own is not None
    with serving(own):
        started = [p for p in Path("/proc").glob("[0-9]*") if own.address in _command(p)]
        assert len(started) == 2
    wait_for(lambda: not any(own.address in _command(p) for p in started))


@pytest.mark.parametrize(
    ("says", "told"), [("echo no subuids >&2; exit 3", "no subuids"), ("exit 3", "without a word")]
)
def test_service_that_ends_at_once_says_why(place: Place, says: str, told: str) -> None:
    place.install(f"#!/bin/sh\n{says}\n")
    with pytest.raises(EngineUnreachable) as caught, served(place.env):
        pass
    assert told in str(caught.value)
    assert "system service unix://" in str(caught.value)
    assert list((place.path / "run").iterdir()) == []


def test_service_that_never_listens_is_not_waited_for_without_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(podman, "_ANSWERS_WITHIN_S", 0.1)
    place.install("#!/bin/sh\nexec sleep 60\n")
    began = time.monotonic()
    with pytest.raises(EngineUnreachable), served(place.env):
        pass
    assert time.monotonic() - began < 50


def test_service_of_somebody_else_is_waited_for_until_it_fails(place: Place) -> None:
    own = find_own_service(place.env, "r1")
    assert own is not None
    asked: list[int] = []
    wait_for_other(own.address, lambda: asked.append(1) or len(asked) > 2)
    assert len(asked) == 3
    with serving(own):
        wait_for_other(own.address, lambda: False)


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""
