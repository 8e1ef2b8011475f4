"""Projects that run on the real engine, and the proof that they leave nothing behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from fakes.programs import IMAGE
from waiting import wait_for

from engine.answers import serve_answers
from engine.events import Events
from pytest_isolate.engine.api import Engine
from pytest_isolate.model.identity import LABEL_OWNER, LABEL_REUSE, LABEL_RUN
from pytest_isolate.sharing.owners import read_owner

TESTS = Path(__file__).parent.parent
CONTRACT_RUN = f"contract-{secrets.token_hex(4)}"
PREAMBLE = "import pytest\nfrom fakes.programs import IMAGE, forever, program\nfrom pytest_isolate import *\n"


# Warnings are errors in the runs under test as in ours: a socket that is left open shows. What else is installed has
# nothing to do with ours, and would cost a second for each run.
_WITHOUT = ("cacheprovider", "anyio", "hypothesispytest", "timeout")


class Left:
    """What is on the engine that runs of this session own: those of the processes that they were started as."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.pids: set[int] = set()
        self._miscounted: set[str] = set()

    def objects(self, pids: set[int] | None = None, but: str = "") -> list[str]:
        """Containers, volumes and networks, by kind and name, but those with a label of that name."""
        pids = self.pids if pids is None else pids
        found = [(name, labels) for name, labels in self._all_labelled() if but not in labels]
        return [name for name, labels in found if self._is_ours(labels, pids) and name not in self._miscounted]

    def containers(self, pids: set[int]) -> list[str]:
        return [name for name in self.objects(pids) if name.startswith("container ")]

    def remove(self, names: list[str]) -> None:
        """Remove what a failing test has left, so that the next one is judged by itself.

        A network that the engine takes for used, though nothing is on it, stays until the engine is started again.
        """
        for kind, name in (text.split() for text in names):
            with suppress(docker.errors.NotFound):  # another run on this engine has swept
                if kind == "container":
                    self._client.remove_container(name, force=True, v=True)
                elif kind == "volume":
                    self._client.remove_volume(name, force=True)
                else:
                    self._remove_network(name)

    def _remove_network(self, name: str) -> None:
        try:
            self._client.remove_network(name)
        except docker.errors.APIError as error:
            if "active endpoints" not in str(error) or self._client.inspect_network(name)["Containers"]:
                raise
            self._miscounted.add(f"network {name}")

    def _all_labelled(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        only = {"label": [LABEL_RUN]}
        for container in self._client.containers(all=True, filters=only):
            yield f"container {container['Names'][0].removeprefix('/')}", container["Labels"]
        for volume in self._client.volumes(filters=only)["Volumes"] or ():
            yield f"volume {volume['Name']}", volume["Labels"]
        for network in self._client.networks(filters=only):
            yield f"network {network['Name']}", network["Labels"]

    def _is_ours(self, labels: Mapping[str, str], pids: set[int]) -> bool:
        if labels[LABEL_RUN] == CONTRACT_RUN:
            return True
        me, owner = read_owner(), json.loads(labels.get(LABEL_OWNER, "{}"))
        here = (me.host, me.boot, me.pid_namespace)
        return owner.get("pid") in pids and (owner["host"], owner["boot"], owner["pid_namespace"]) == here


@pytest.fixture(scope="session")
def left(docker_client: Any) -> Iterator[Left]:
    """Knows what is left; at the end of all tests nothing may be."""
    left = Left(docker_client)
    yield left
    assert left.objects() == []


class Running:
    """A run of pytest in another process."""

    def __init__(self, process: subprocess.Popen[str], log: Path, left: Left) -> None:
        self.process = process
        self._log = log
        self._left = left
        self._started = time.monotonic()

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, question: Callable[[], Any]) -> Any:
        """The first true answer to a question; the output is shown when there is none in time."""
        return wait_for(question, show=lambda: f"output so far:\n{self.output}")

    def wait_for_output(self, text: str) -> None:
        self.wait_for(lambda: text in self.output)

    def wait_for_containers(self, count: int) -> None:
        self.wait_for(lambda: len(self.containers()) >= count)

    def containers(self) -> list[str]:
        return self._left.containers({self.process.pid})

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def interrupt_group(self) -> None:
        """Ctrl-C as a terminal sends it: to the run and all its workers."""
        os.killpg(self.process.pid, signal.SIGINT)

    def result(self, timeout_s: float = 240) -> pytest.RunResult:
        """How it ended. Everything of it must be gone soon after: its guardian may still be removing the last of it."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"did not end within {timeout_s} s:\n{self.output}")
        duration = time.monotonic() - self._started
        print(self.output)
        # What is still there after this is told by the fixture `project`.
        with suppress(AssertionError):
            wait_for(lambda: not self._left.objects({self.process.pid}, but=LABEL_REUSE), 30, pause_s=0.05)
        return pytest.RunResult(code, self.output.splitlines(), [], duration)


def _hear_all_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


class Project:
    """A folder with a conftest.py and tests, to be run with pytest on the real engine."""

    def __init__(self, pytester: pytest.Pytester, left: Left) -> None:
        self.pytester = pytester
        self.left = left
        self.path = pytester.path
        self.runs: list[Running] = []
        self.env: dict[str, str] = {}
        self.without = _WITHOUT
        self.pids: set[int] = set()

    def conftest(self, *texts: str) -> None:
        self.write("conftest.py", PREAMBLE, *texts)

    def tests(self, *texts: str, name: str = "test_it.py") -> None:
        self.write(name, PREAMBLE, *texts)

    def write(self, name: str, *texts: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(textwrap.dedent, texts)))

    def start(self, *args: str) -> Running:
        log = self.path / f"output-{len(self.runs)}.txt"
        path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
        env = {**os.environ, "PYTHONPATH": path, **self.env}
        without = [word for name in self.without for word in ("-p", f"no:{name}")]
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *without, "-W", "error", "--isolate", *args],
                cwd=self.path,
                env=env,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                # Whoever runs these tests in the background lets them, and what they start, ignore some signals.
                preexec_fn=_hear_all_signals,  # noqa: PLW1509  # no other thread forks
            )
        self.left.pids.add(process.pid)
        self.pids.add(process.pid)
        self.runs.append(Running(process, log, self.left))
        return self.runs[-1]

    def run(self, *args: str) -> pytest.RunResult:
        return self.start(*args).result()

    def objects(self) -> list[str]:
        """What its runs have on the engine at this moment."""
        return self.left.objects({run.process.pid for run in self.runs})

    def containers_of_kept(self) -> list[str]:
        """Containers that its runs have kept for later ones."""
        return [name for name in self.objects() if name.startswith("container isolate-kept-")]

    def close(self) -> None:
        for run in self.runs:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()


@pytest.fixture
def project(pytester: pytest.Pytester, left: Left) -> Iterator[Project]:
    """An empty project. However its runs end, nothing of them may be left."""
    project = Project(pytester, left)
    yield project
    project.close()
    found = project.objects()
    left.remove(found)
    assert found == []


@pytest.fixture
def events(docker_client: Any, project: Project) -> Iterator[Events]:
    """What happens to the containers of this test's runs."""
    events = Events(docker_client, project.pids)
    yield events
    events.close()


@pytest.fixture(scope="session")
def base_image(real_engine: Engine) -> str:
    """The image that programs run in; a machine without it (scripts/base-images makes it) cannot run these tests."""
    if real_engine.find_image(IMAGE) is None:
        pytest.fail(f"{IMAGE} is not on the engine: run scripts/base-images", pytrace=False)
    return IMAGE


@pytest.fixture(scope="session")
def contract_run() -> str:
    """The run id on everything that the contract suite makes."""
    return CONTRACT_RUN


@pytest.fixture
def answers() -> Iterator[Any]:
    """An engine of our own making."""
    with serve_answers() as handler:
        yield handler
