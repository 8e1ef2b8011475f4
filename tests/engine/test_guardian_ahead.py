"""The guardian that is started while pytest collects, because the last run needed one."""

from __future__ import annotations

import signal

import pytest
from crash.observing import find_processes

from engine.conftest import Project, Running

DECLARED = """
import os, signal
from pathlib import Path

import psutil

web = service(IMAGE, command=program("serve 8000 hello"), port=8000)

def pytest_collection_modifyitems(config):
    names = [" ".join(child.cmdline()) for child in psutil.Process().children() if child.status() != "zombie"]
    armed = any(child.status() == "zombie" for child in psutil.Process().children())
    with open("ahead", "a") as seen:
        seen.write("1" if armed or any("pytest_isolate.cli.guardian" in name for name in names) else "0")
    if Path("die").exists():
        os.kill(os.getpid(), signal.SIGKILL)
"""
TESTS = """
def test_service(web):
    assert web.exec("true").exit_code == 0

def test_nothing():
    pass
"""

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]


@pytest.fixture
def project(project: Project) -> Project:
    project.without = tuple(name for name in project.without if name != "cacheprovider")
    project.conftest(DECLARED)
    project.tests(TESTS)
    return project


def run(project: Project, *args: str) -> str:
    """One run that passes; which of the runs so far had a guardian while they collected."""
    # Services that start before the tests are collected have a guardian in any case.
    running = project.start("-o", "isolate_early=false", *args)
    result = running.result()
    assert result.ret == pytest.ExitCode.OK
    running.wait_for(lambda: not guardians(running))
    return seen(project)


def seen(project: Project) -> str:
    return (project.path / "ahead").read_text()


def guardians(running: Running) -> list[int]:
    return list(find_processes(running.process.pid).guardian)


def test_it_is_started_ahead_where_the_last_run_needed_one(project: Project) -> None:
    assert run(project) == "0"
    assert run(project) == "01"
    # It was not needed this time, and is gone all the same; the next run is told so.
    assert run(project, "-k", "nothing") == "011"
    assert run(project) == "0110"


@pytest.mark.parametrize("option", ["--collect-only", "--isolate-plan", "-n1", "--fixtures"])
def test_where_nothing_is_started_here_it_is_not_started_ahead(project: Project, option: str) -> None:
    run(project)
    run(project, option)
    assert set(seen(project)) == {"0"}


def test_it_is_started_anew_where_another_engine_would_be_found_meanwhile(project: Project) -> None:
    run(project)
    project.write("sub/conftest.py", "import os\nos.environ['DOCKER_HOST'] = 'unix:///var/run/docker.sock'\n")
    project.tests(TESTS, name="sub/test_sub.py")
    assert run(project) == "01"


def test_it_ends_where_pytest_is_killed_meanwhile(project: Project) -> None:
    run(project)
    (project.path / "die").touch()
    running = project.start()
    assert running.process.wait(30) == -signal.SIGKILL
    assert seen(project) == "01"
    running.wait_for(lambda: not guardians(running))


def test_engine_that_is_gone_is_told_once(project: Project) -> None:
    run(project)
    project.env["DOCKER_HOST"] = f"unix://{project.path}/no.sock"
    result = project.start().result()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stdout.str().count("no container engine answers") == 1
