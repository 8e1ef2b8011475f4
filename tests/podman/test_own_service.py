"""A Podman without a daemon, as a normal user: `scripts/podman user pytest tests/podman`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import IMAGE
from waiting import wait_for

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.engine.connect import connect, served
from pytest_isolate.engine.docker.podman import find_own_service
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.model.identity import LABEL_RUN

TESTS = Path(__file__).parent.parent
_WITHOUT = [word for name in ("cacheprovider", "anyio", "hypothesispytest", "timeout") for word in ("-p", f"no:{name}")]
PREAMBLE = "from urllib.request import urlopen\nfrom fakes.programs import IMAGE, forever, program\n"
PREAMBLE += "from pytest_isolate import *\n"
STACKS = """
web = service(build="web", command=program("say up", "serve 8000 hello"), port=8000, ready=http("/"), memory="64m")
hr = stack(web=service(web, env={"REALM": "hr"}))
sales = stack(web=service(web, env={"REALM": "sales"}))
"""
ASKS = """
def test_built_service_answers(web):
    assert urlopen(web.url).read() == b"hello"
    assert web.exec("cat", "/built", check=True).stdout == "yes\\n"

def test_stacks_of_the_same_names_do_not_mix(hr, sales):
    assert [urlopen(f"{s.web.url}/env/REALM").read() for s in (hr, sales)] == [b"hr", b"sales"]
"""
RESTARTS = """
def test_service_restarts_and_keeps_its_port(web):
    port = web.port
    web.restart()
    assert web.port == port
    assert urlopen(web.url).read() == b"hello"
"""
LONG = """
import time
from pathlib import Path

def test_it(web, hr):
    Path("up").touch()
    time.sleep(60)
"""


def why_not() -> str:
    """Why there is nothing to test here; empty where there is."""
    if os.geteuid() == 0 or find_own_service(os.environ, "test") is None:
        return "needs a normal user with Podman, and no engine that listens: scripts/podman user"
    return ""


@pytest.fixture(scope="session", autouse=True)
def _own_podman() -> None:
    reason = why_not()
    if reason and os.environ.get("ISOLATE_REQUIRE_ENGINE") == "1":
        raise pytest.fail.Exception(f"ISOLATE_REQUIRE_ENGINE=1, but it {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)


def left() -> list[str]:
    """What runs have left: objects with our labels, services, their folders."""
    only = ("--filter", f"label={LABEL_RUN}")
    asks = [("ps", "-aq", *only), ("network", "ls", "-q", *only), ("volume", "ls", "-q", *only)]
    found = [subprocess.run(["podman", *ask], capture_output=True, text=True, check=True).stdout for ask in asks]
    folders = Path(os.environ["XDG_RUNTIME_DIR"]).glob("pytest-isolate-podman-*")
    return [*"".join(found).split(), *services(), *map(str, folders)]


def services() -> list[str]:
    """The API services that run."""
    told = subprocess.run(["ps", "-u", str(os.geteuid()), "-o", "args="], capture_output=True, text=True, check=True)
    return [line for line in told.stdout.splitlines() if "system service" in line]


class Project:
    """A folder with services and tests, run as a user would."""

    def __init__(self, path: Path, tests: str) -> None:
        self.path = path
        self.env = {**os.environ, "PYTHONPATH": str(TESTS), "XDG_CACHE_HOME": str(path / "cache")}
        self.env.pop("CI", None)
        (path / "web").mkdir()
        (path / "web" / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN echo yes >/built\n")
        (path / "conftest.py").write_text(PREAMBLE + STACKS)
        (path / "test_it.py").write_text(PREAMBLE + textwrap.dedent(tests))

    def start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pytest", *_WITHOUT, "-W", "error", "--isolate", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.path, env=self.env, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def run(self, *args: str) -> str:
        output, _ = self.start(*args).communicate(timeout=200)
        print(output)
        return output

    def ask(self, *args: str) -> str:
        command = [sys.executable, "-c", "from pytest_isolate.cli.main import main; main()", *args]
        done = subprocess.run(
            command, check=False, cwd=self.path, env=self.env, capture_output=True, text=True, timeout=120
        )
        print(done.stdout, done.stderr)
        assert done.returncode == 0
        return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Callable[[str], Project]]:
    """A new project with these tests. Nothing of its runs may be left."""
    yield lambda tests: Project(tmp_path, tests)
    wait_for(lambda: not left(), pause_s=0.1, show=left)


def test_run_has_a_service_of_its_own_that_ends_with_it(project: Callable[[str], Project]) -> None:
    output = project(ASKS + RESTARTS).run("-v")

    assert "3 passed" in output
    assert "on Podman " in output
    told = "isolate: these limits do not hold: memory, pids; Podman" in output
    # Rootless engines have the kernel's control groups from their version 2 on.
    assert told is not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def test_workers_share_the_service_that_one_of_them_starts(project: Callable[[str], Project]) -> None:
    output = project(ASKS).run("-n2", "-v")

    assert "2 passed" in output
    assert "isolate: 3 services started" in output


def test_killed_run_leaves_neither_containers_nor_a_service(project: Callable[[str], Project]) -> None:
    made = project(LONG)
    run = made.start()
    try:
        wait_for((made.path / "up").exists, 120)
        assert services()
        assert left()
    finally:
        run.send_signal(signal.SIGKILL)
        run.communicate()

    wait_for(lambda: not left(), pause_s=0.1, show=left)


def test_what_is_up_stays_without_a_service(project: Callable[[str], Project]) -> None:
    made = project("")
    made.ask("up", "web")
    try:
        assert services() == []
        assert "web" in made.ask("ps")
    finally:
        made.ask("down")


def test_podman_that_does_not_serve_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "podman"
    broken.write_text("#!/bin/sh\necho 'no subuid ranges found for user' >&2\nexit 125\n")
    broken.chmod(0o755)
    (tmp_path / "project").mkdir()
    made = Project(tmp_path / "project", ASKS)
    made.env["PATH"] = f"{tmp_path}{os.pathsep}{made.env['PATH']}"

    output = made.run("--isolate-reuse")  # which asks the engine before anything is armed

    assert "Podman's API service" in output
    assert "no subuid ranges found for user" in output
    assert "ERROR: the guardian, which removes everything if pytest is killed, did not start" in output


def test_container_leaves_a_network_although_the_server_of_names_is_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container that is half detached keeps Podman 4 from listing any, so that nothing can be removed any more."""
    name, plain_ask = f"isolate-{os.getpid()}", Http.ask
    labels = {"contract": name}
    number = Path(os.environ["XDG_RUNTIME_DIR"]) / "containers/networks/aardvark-dns/aardvark.pid"
    away, asked = tmp_path / "number", []

    def ask(client: Http, what: str, method: str, path: str, **more: Any) -> Any:
        if path.endswith("/connect"):
            number.write_text(away.read_text())
        asked.append(path.rpartition("/")[2])
        return plain_ask(client, what, method, path, **more)

    with served(os.environ) as env, closing(connect(env)) as engine:
        first, second = (engine.create_network(f"{name}-{n}", labels, addresses=f"10.197.{n}.0/28") for n in (41, 42))
        container = engine.create_container(
            ContainerRequest(name=name, image=IMAGE, labels=labels, command=["sleep", "60"], network=first)
        )
        try:
            engine.start_container(container)
            engine.attach(second, container, ["web"])
            away.write_text(number.read_text())
            number.unlink()
            with monkeypatch.context() as patch:
                patch.setattr(Http, "ask", ask)
                engine.detach(second, container)

            assert asked == ["disconnect", "connect", "disconnect"]
            assert engine.list_containers(labels) == [container]
            assert engine.inspect_container(container).is_running
        finally:
            engine.remove_container(container)
            for network in (first, second):
                engine.remove_network(network)
            # What it forgot to take away while its number was away would keep the server of names from starting.
            for n in (41, 42):
                (number.parent / f"{name}-{n}").unlink(missing_ok=True)


def test_program_is_found_on_the_path() -> None:
    own = find_own_service(os.environ, "test")
    assert own is not None
    assert own.program == shutil.which("podman")
