"""Runs whose API server is away for half a minute, or refuses for a while: they go on, and leave nothing."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash.observing import find_processes, is_running
from waiting import wait_for

from kubernetes.calling import Api
from kubernetes.fake.handle import FakeCluster
from kubernetes.projects import GET, WEB, Project
from kubernetes.test_kube_crash import end_relays, list_objects, start

pytestmark = [pytest.mark.engine, pytest.mark.linux]

AWAY_S = 30
PATIENCE_S = 240
FRONT = "front = service(web, env={'BACK': '{web.url}'})"
TESTS = """
from pathlib import Path
import time

def wait_for_file(name):
    while not Path(name).exists():
        time.sleep(0.1)

def test_it(web, front):
    assert get(front) == "hello"
    Path("began").touch()
    wait_for_file("go-on")
    for left in reversed(range(300)):
        try:
            assert get(web) == "hello"
            break
        except OSError:
            if not left:
                raise
            time.sleep(0.1)
    web.restart()
    assert web.exec("echo", "said").stdout.strip() == "said"
    assert get(web) == "hello"
    Path("passed").touch()
    wait_for_file("end")
"""


class Outage:
    """A run, and a cluster whose API server can be away."""

    def __init__(self, project: Project, cluster: FakeCluster, api: Api) -> None:
        project.write("conftest.py", WEB, FRONT)
        project.write("test_it.py", GET, TESTS)
        self.project = project
        self.cluster = cluster
        self.api = api
        self.process = start(project, "output.txt", "-n0")

    def touch(self, *names: str) -> None:
        for name in names:
            (self.project.path / name).touch()

    def output(self) -> str:
        return (self.project.path / "output.txt").read_text()

    def wait_for(self, question: Callable[[], object]) -> None:
        wait_for(lambda: question() or self.process.poll() is not None, PATIENCE_S, show=self.output)
        assert self.process.poll() is None, self.output()

    def wait_for_file(self, name: str) -> None:
        self.wait_for((self.project.path / name).exists)

    def restart_server(self, meanwhile: Callable[[], object]) -> None:
        """Be away for a while, and then have a cold cache: lists and watches are refused at first."""
        self.cluster.order("stop")
        meanwhile()
        time.sleep(AWAY_S)
        self.cluster.order("start", warming_s=2)
        wait_for(lambda: self.api.call("GET", "pods")[0] == 200)

    def lose_network(self, meanwhile: Callable[[], object]) -> None:
        """Let nothing answer for a while; no connection breaks."""
        self.cluster.freeze()
        meanwhile()
        time.sleep(AWAY_S)
        self.cluster.thaw()

    def end(self) -> None:
        """The run has passed, and soon nothing of it is there."""
        code = self.process.wait(PATIENCE_S)
        print(self.output())
        assert code == 0
        self.is_clean()

    def is_clean(self) -> None:
        wait_for(lambda: not list_objects(self.api), PATIENCE_S, show=lambda: list_objects(self.api))


@pytest.fixture
def outage(tmp_path: Path, fake_cluster: FakeCluster, namespace: str, api: Api) -> Iterator[Outage]:
    folder = tmp_path / "project"
    folder.mkdir()
    made = Outage(Project(folder, fake_cluster, namespace), fake_cluster, api)
    yield made
    try:
        made.process.wait(1)
    except subprocess.TimeoutExpired:
        made.process.kill()
        made.process.wait()
    end_relays(folder)


Absence = Callable[[Outage, Callable[[], object]], None]
ABSENCES = pytest.mark.parametrize("be_away", [Outage.restart_server, Outage.lose_network], ids=["server", "network"])


def test_while_services_start(outage: Outage) -> None:
    outage.touch("go-on", "end")
    outage.wait_for(lambda: any(name.startswith("pods") for name in list_objects(outage.api)))
    outage.restart_server(lambda: None)
    outage.end()


@ABSENCES
def test_in_the_middle_of_a_test(outage: Outage, be_away: Absence) -> None:
    outage.wait_for_file("began")
    be_away(outage, lambda: outage.touch("go-on", "end"))
    outage.end()


@ABSENCES
def test_when_all_is_to_be_removed(outage: Outage, be_away: Absence) -> None:
    outage.touch("go-on")
    outage.wait_for_file("passed")
    be_away(outage, lambda: outage.touch("end"))
    outage.end()


@ABSENCES
def test_when_pytest_is_killed_meanwhile(outage: Outage, be_away: Absence) -> None:
    outage.wait_for_file("began")
    guardian = find_processes(outage.process.pid).guardian
    be_away(outage, outage.process.kill)
    began = time.monotonic()
    outage.is_clean()
    print(f"clean {time.monotonic() - began:.1f} s after the server was back")
    wait_for(lambda: not any(map(is_running, guardian)), PATIENCE_S)
