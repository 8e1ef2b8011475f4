"""The guardian's program as macOS and Windows have it, on an engine of our own making, without what they lack."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from fakes.other_system import LACKING, SYSTEMS, lack
from waiting import wait_for

import pytest_isolate
from engine.answers import start_guardian_program
from engine.conftest import TESTS, Project
from engine.test_guardian import is_there, start_long
from pytest_isolate.engine.api import Engine
from pytest_isolate.model.identity import LABEL_OWNER, LABEL_RUN
from pytest_isolate.running.cleanup import guard_macos, guard_windows
from pytest_isolate.running.cleanup.guardian import ARMED, BYE, CLOSING, FINISH

ROOT = Path(pytest_isolate.__file__).parent.parent
MODULES: dict[str, ModuleType] = {"macos": guard_macos, "windows": guard_windows}


class Armed:
    """A guardian that watches a process: its own process, and the way to connect to it."""

    def __init__(self, system: str, answers: Any, watched: subprocess.Popen[bytes]) -> None:
        self._module = MODULES[system]
        answers.let_go.set()
        self.answers = answers
        self.watched = watched
        start_time = f"{psutil.Process(watched.pid).create_time():.2f}"
        with start_guardian_program(answers.address, pid=watched.pid, start_time=start_time) as starter:
            out, err = starter.communicate(timeout=120)
        assert starter.returncode == 0, err
        word, self.address = out.splitlines()
        assert word == "armed"
        self.pid = next(p.pid for p in psutil.process_iter() if self._is_it(p))

    def _is_it(self, process: psutil.Process) -> bool:
        try:
            return "--behind" in process.cmdline() and str(self.watched.pid) in process.cmdline()
        except psutil.Error:
            return False

    def connect(self) -> Any:
        return closing(self._module.connect(self.address, 10))

    def has_ended(self) -> bool:
        return not is_there(self.pid)


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    lack(request.param, monkeypatch)
    return str(request.param)


@pytest.fixture
def armed(system: str, answers: Any) -> Iterator[Armed]:
    with subprocess.Popen(["sleep", "600"]) as watched:
        try:
            armed = Armed(system, answers, watched)
            yield armed
        finally:
            watched.kill()
    wait_for(armed.has_ended)


def test_it_removes_and_ends_when_the_watched_process_is_killed(armed: Armed) -> None:
    with armed.connect() as link:
        assert link.recv(len(ARMED)) == ARMED
        asked = len(armed.answers.asked)
        armed.watched.kill()
        armed.watched.wait()
        assert link.recv(len(CLOSING)) == CLOSING
    wait_for(armed.has_ended)

    assert "containers/json" in armed.answers.asked[asked:]


@pytest.mark.parametrize(("message", "removes"), [(BYE, False), (FINISH, True)])
def test_the_controller_ends_it(armed: Armed, message: bytes, removes: bool) -> None:
    asked = len(armed.answers.asked)
    with armed.connect() as link:
        assert link.recv(len(ARMED)) == ARMED
        link.sendall(message)
        if removes:
            assert link.recv(len(CLOSING)) == CLOSING
    wait_for(armed.has_ended)

    assert bool(armed.answers.asked[asked:]) == removes


@pytest.mark.parametrize("system", ["windows"], indirect=True)
@pytest.mark.parametrize("said", [b"x", b"bye\n", b"\n" * 100])
def test_a_stranger_on_its_port_is_told_nothing_and_ends_nothing(armed: Armed, said: bytes) -> None:
    port, _, token = armed.address.partition(" ")
    stranger = guard_windows.connect(f"{port} {said.decode()}", 10)
    # It hangs up; where more was sent than it has read, that is a reset.
    with closing(stranger), suppress(ConnectionResetError):
        assert stranger.recv(64) == b""
    with closing(guard_windows.connect(f"{port} {token[:9]}", 10)) as slow:
        slow.sendall(token[9:].encode())
        assert slow.recv(len(ARMED)) == ARMED


@pytest.mark.parametrize("system", ["macos"], indirect=True)
def test_its_socket_is_in_a_folder_of_its_own_that_goes_with_it(armed: Armed) -> None:
    folder = Path(armed.address).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(armed.address.encode()) <= 103
    armed.watched.kill()
    armed.watched.wait()
    wait_for(lambda: not folder.exists())


def test_it_is_not_armed_where_the_process_is_gone(system: str, answers: Any) -> None:
    answers.let_go.set()
    with start_guardian_program(answers.address, pid=2**22 - 1, start_time="1.00") as starter:
        out, err = starter.communicate(timeout=120)

    assert out == ""
    assert starter.returncode == 1
    assert "process 4194303, which was to be watched, is gone" in err
    assert "Traceback" not in err


# -- on a real engine -------------------------------------------------------------------------------------------------


class Passing(socketserver.BaseRequestHandler):
    """Passes bytes between a client of a TCP port and the engine's socket, each direction to its own end."""

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self.server.path)  # type: ignore[attr-defined]  # the fixture's
            back = threading.Thread(target=self._copy, args=(engine, self.request))
            back.start()
            self._copy(self.request, engine)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def address(system: str, real_engine: Engine) -> Iterator[str]:
    """The engine as this system reaches it: Windows by TCP, as one in WSL2, for Python has no Unix sockets there."""
    found = real_engine.facts().address
    if system == "macos" or not found.startswith("unix://"):
        yield found
        return
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Passing) as server:
        server.daemon_threads = True
        server.path = found.removeprefix("unix://")  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def objects_of(client: Any, pid: int) -> list[str]:
    """Everything on the engine whose owner is a process: the host is another one for runs without ids of boots."""
    only = {"label": [LABEL_RUN]}
    found = [
        *client.containers(all=True, filters=only),
        *(client.volumes(filters=only)["Volumes"] or ()),
        *client.networks(filters=only),
    ]
    owned = ((o, json.loads(o["Labels"].get(LABEL_OWNER, "{}"))) for o in found)  # the contract suite's have no owner
    return [str(o.get("Name") or o["Names"]) for o, owner in owned if owner.get("pid") == pid]


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize("distribution", ["-pno:xdist", "-n2"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["ends", "killed"])
def test_nothing_is_left_of_a_run(
    project: Project, docker_client: Any, address: str, distribution: str, is_killed: bool
) -> None:
    project.env.update(DOCKER_HOST=address, CI="", PYTHONPATH=os.pathsep.join((str(LACKING), str(TESTS), str(ROOT))))
    run = start_long(project, distribution)
    pid = run.process.pid
    assert len(objects_of(docker_client, pid)) == 6
    (guardian,) = (
        p for p in psutil.process_iter(["cmdline"]) if {"--behind", str(pid)} <= set(p.info["cmdline"] or ())
    )
    if is_killed:
        run.process.kill()
        run.process.wait()
    else:
        (project.path / "go-on").touch()
        assert run.process.wait(120) == 0, run.output
    run.wait_for(lambda: not objects_of(docker_client, pid))
    run.wait_for(lambda: not is_there(guardian.pid))
