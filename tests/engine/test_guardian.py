"""The guardian: armed before anything starts, small, deaf to signals, gone with the run, and there when it counts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from crash.observing import find_processes
from fakes.programs import IMAGE
from waiting import wait_for

from engine.answers import start_guardian_program
from engine.conftest import TESTS, Project, Running
from engine.events import Events
from pytest_isolate.sharing.owners import read_owner

MAX_RESIDENT = 16 * 1024**2
DECLARED = """
web = service(IMAGE, command=program("serve 8000 hello"), port=8000, volumes={"data": "/data"})
hr = stack(web=web)
"""
LONG = """
import time
from pathlib import Path

def test_it(web, hr):
    Path("up").touch()
    while not Path("go-on").exists():
        time.sleep(0.02)
    assert web.exec("true").exit_code == 0
"""


def guardian_of(run: Running) -> int:
    (guardian,) = run.wait_for(lambda: find_processes(run.process.pid).guardian)
    return guardian


def is_there(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def removal_s(client: Any) -> float:
    """How long this machine takes at this moment to remove two containers, by which a limit is measured."""
    made = [client.create_container(IMAGE, ["sleep", "600"])["Id"] for _ in range(2)]
    began = time.monotonic()
    try:
        for each in made:
            client.start(each)
    finally:
        for each in made:
            client.remove_container(each, force=True)
    return time.monotonic() - began


def start_long(project: Project, *args: str) -> Running:
    project.conftest(DECLARED)
    project.tests(LONG)
    run = project.start(*args)
    run.wait_for((project.path / "up").exists)
    return run


# -- on an engine of our own making -----------------------------------------------------------------------------------


def test_it_is_armed_only_when_the_engine_has_answered_every_question(answers: Any) -> None:
    with subprocess.Popen(["sleep", "60"]) as watched:
        owner = psutil.Process(watched.pid)
        start_time = Path(f"/proc/{owner.pid}/stat").read_text().rpartition(")")[2].split()[19]
        with start_guardian_program(answers.address, pid=watched.pid, start_time=start_time) as guardian:
            said: list[str] = []
            reader = threading.Thread(target=lambda: said.append(guardian.stdout.readline()))  # type: ignore[union-attr]
            reader.start()
            wait_for(lambda: len(answers.asked) >= 2)
            reader.join(0.3)
            assert said == []
            answers.let_go.set()
            reader.join(60)
            assert said == ["armed\n"]
            assert answers.asked == ["version", "containers/json", "networks", "volumes", "volumes"]
            watched.kill()
            assert guardian.wait(120) == 0


@pytest.mark.parametrize("wrong", ["engine", "watched", "filter"])
def test_it_is_not_armed_where_it_could_not_do_its_work(answers: Any, wrong: str) -> None:
    me = read_owner()
    answers.let_go.set()
    answers.refuses = wrong == "filter"
    address = "tcp://127.0.0.1:1" if wrong == "engine" else answers.address
    start_time = "1" if wrong == "watched" else me.start_time
    with start_guardian_program(address, pid=me.pid, start_time=start_time) as guardian:
        out, err = guardian.communicate(timeout=120)
    assert out == ""
    assert guardian.returncode == 1
    expected = {"engine": "Connection refused", "watched": "is gone", "filter": "invalid filter"}
    assert expected[wrong] in err
    assert "Traceback" not in err


# -- on a real engine -------------------------------------------------------------------------------------------------


@pytest.mark.engine
@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize("distribution", ["-pno:xdist", "-n2"])
def test_no_container_is_made_when_it_cannot_arm(project: Project, events: Events, distribution: str) -> None:
    text = "import sys\nif 'pytest_isolate.cli.guardian' in sys.orig_argv: sys.exit('no room for it')\n"
    project.write("broken/sitecustomize.py", text)
    project.env["PYTHONPATH"] = os.pathsep.join((str(project.path / "broken"), str(TESTS)))
    project.conftest(DECLARED)
    project.tests("def test_it(web): pass")
    result = project.run(distribution)
    result.assert_outcomes(errors=1)
    text = result.stdout.str()
    assert "the guardian, which removes everything if pytest is killed, did not start" in text
    assert "no room for it" in text
    assert "INTERNALERROR" not in text
    assert events.created == []


@pytest.mark.engine
@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize("distribution", ["-pno:xdist", "-n2"])
def test_it_is_small_and_ends_with_the_run(project: Project, distribution: str) -> None:
    run = start_long(project, distribution)
    guardian = guardian_of(run)
    resident = psutil.Process(guardian).memory_info().rss
    print(f"the guardian takes {resident / 1024**2:.1f} MiB")
    assert resident < MAX_RESIDENT
    (project.path / "go-on").touch()
    run.result().assert_outcomes(passed=1)
    run.wait_for(lambda: not is_there(guardian))


@pytest.mark.engine
@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize("distribution", ["-pno:xdist", "-n2"])
def test_run_that_ends_kills_its_containers_and_leaves_the_rest_to_it(
    project: Project, docker_client: Any, distribution: str
) -> None:
    project.env["CI"] = ""
    run = start_long(project, distribution)
    guardian, names = guardian_of(run), project.objects()
    assert len(names) == 6
    (project.path / "go-on").touch()
    assert run.process.wait(120) == 0

    running = {f"container {c['Names'][0].removeprefix('/')}" for c in docker_client.containers()}
    assert not running & set(names), "no container outlives pytest"
    run.wait_for(lambda: not project.objects())
    run.wait_for(lambda: not is_there(guardian))


@pytest.mark.engine
@pytest.mark.usefixtures("base_image")
def test_in_a_ci_job_everything_is_removed_before_pytest_ends(project: Project) -> None:
    project.env["CI"] = "true"
    run = start_long(project)
    (project.path / "go-on").touch()
    assert run.process.wait(120) == 0
    assert not project.objects()


@pytest.mark.engine
@pytest.mark.usefixtures("base_image")
def test_no_signal_but_a_kill_ends_it(project: Project) -> None:
    run = start_long(project)
    guardian = guardian_of(run)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guardian, number)
    run.process.kill()
    run.process.wait()
    run.wait_for(lambda: not run.containers())
    run.wait_for(lambda: not is_there(guardian))


@pytest.mark.engine
@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize(
    ("number", "distribution"),
    [
        (signal.SIGKILL, "-pno:xdist"),
        (signal.SIGKILL, "-n2"),
        (signal.SIGTERM, "-pno:xdist"),
        (signal.SIGHUP, "-pno:xdist"),
    ],
    ids=["kill", "kill-n2", "term", "hup"],
)
def test_everything_goes_within_two_seconds_of_the_controller(
    project: Project, docker_client: Any, distribution: str, number: signal.Signals
) -> None:
    run = start_long(project, distribution)
    assert len(run.containers()) == 2
    before_s = removal_s(docker_client)
    run.process.send_signal(number)
    run.process.wait(120)
    began = time.monotonic()
    run.wait_for(lambda: not project.objects())
    took = time.monotonic() - began
    print(f"clean {took:.2f} s after the controller's death")
    assert took < 2 + 3 * max(before_s, removal_s(docker_client))


@pytest.mark.engine
@pytest.mark.usefixtures("base_image")
def test_run_whose_guardian_is_killed_goes_on_and_cleans_up_by_itself(project: Project) -> None:
    run = start_long(project)
    os.kill(guardian_of(run), signal.SIGKILL)
    (project.path / "go-on").touch()
    run.result().assert_outcomes(passed=1)


@pytest.mark.engine
@pytest.mark.usefixtures("base_image")
def test_it_keeps_no_folder_busy_and_no_pipe_open(project: Project) -> None:
    """`pytest | tee log` has to end with pytest, and a temporary folder has to be removable."""
    run = start_long(project)
    guardian = psutil.Process(guardian_of(run))
    assert guardian.cwd() == "/"
    targets = {str(Path(f"/proc/{guardian.pid}/fd/{n}").resolve()) for n in (0, 1, 2)}
    assert targets == {os.devnull}
    (project.path / "go-on").touch()
    run.result().assert_outcomes(passed=1)


@pytest.mark.engine
@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("distribution", ["-pno:xdist", "-n2"])
def test_interrupt_cleans_up_within_two_seconds(
    project: Project, events: Events, docker_client: Any, distribution: str, times: int
) -> None:
    run = start_long(project, distribution)
    before_s = removal_s(docker_client)
    began = time.monotonic()
    for _ in range(times):
        run.interrupt_group()
    code = run.process.wait(120)
    took = time.monotonic() - began
    print(f"ended {took:.2f} s after {times} interrupts, with code {code}")
    assert code == pytest.ExitCode.INTERRUPTED
    assert project.objects() == []
    events.settle()
    assert took < 2 + 3 * max(before_s, removal_s(docker_client))
