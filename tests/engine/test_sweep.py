"""What dead runs have left is removed by the next run and by `pytest-isolate gc`; what lives stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest
from crash.observing import find_processes

from engine.conftest import Project, Running

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

DECLARED = """
web = service(IMAGE, command=program("serve 8000 hello"), port=8000, volumes={"data": "/data"})
"""
LONG = """
import time
from pathlib import Path
from urllib.request import urlopen

def test_it(web):
    Path("up").touch()
    while not Path("go-on").exists():
        with urlopen(f"http://{web.address}", timeout=60) as answer:
            assert answer.read() == b"hello"
        time.sleep(0.02)
"""


def gc(*args: str, env: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    code = "from pytest_isolate.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "gc", *args],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
        check=False,
    )


def start_long(project: Project) -> Running:
    project.conftest(DECLARED)
    project.tests(LONG)
    project.tests("def test_small(web): pass", name="test_small.py")
    (project.path / "up").unlink(missing_ok=True)
    run = project.start("test_it.py")
    run.wait_for((project.path / "up").exists)
    return run


def kill_with_guardian(run: Running) -> None:
    for pid in (*find_processes(run.process.pid).guardian, run.process.pid):
        os.kill(pid, signal.SIGKILL)
    run.process.wait()


def names_of(project: Project, run: Running) -> set[str]:
    return {text.split()[1] for text in project.left.objects({run.process.pid})}


def test_next_run_removes_what_a_killed_one_has_left(project: Project) -> None:
    dead = start_long(project)
    kill_with_guardian(dead)
    assert len(names_of(project, dead)) == 3
    project.run("test_small.py").assert_outcomes(passed=1)
    assert names_of(project, dead) == set()


def test_next_run_lets_a_living_one_go_on(project: Project) -> None:
    living = start_long(project)
    before = names_of(project, living)
    project.run("test_small.py").assert_outcomes(passed=1)
    assert names_of(project, living) == before
    (project.path / "go-on").touch()
    living.result().assert_outcomes(passed=1)


def test_gc_shows_what_would_go_and_why_and_removes_nothing(project: Project) -> None:
    dead, living = start_long(project), start_long(project)
    kill_with_guardian(dead)
    gone, stays = names_of(project, dead), names_of(project, living)
    shown = gc("--dry-run")
    assert shown.returncode == 0
    lines = {name: line for line in shown.stdout.splitlines() for name in gone | stays if name in line}
    # Another run on this engine may have swept meanwhile, as it should.
    assert (gone | stays) - lines.keys() <= gone - names_of(project, dead)
    for name in gone & lines.keys():
        assert lines[name].startswith("would go")
        assert f"its owner, process {dead.process.pid}, is gone" in lines[name]
    for name in stays:
        assert lines[name].startswith("stays")
        assert f"its owner, process {living.process.pid}, is running" in lines[name]
    (project.path / "go-on").touch()
    living.result()
    gc()


def test_gc_removes_what_dead_runs_have_left_and_keeps_what_lives(project: Project) -> None:
    dead, living = start_long(project), start_long(project)
    kill_with_guardian(dead)
    gone, stays = names_of(project, dead), names_of(project, living)
    result = gc("--json")
    assert result.returncode == 0
    facts = {fact["name"]: fact for fact in json.loads(result.stdout)}
    gone &= facts.keys()  # another run on this engine may have swept before
    assert {facts[name]["fate"] for name in gone} <= {"removed"}
    assert {facts[name]["fate"] for name in stays} == {"stays"}
    assert {facts[name]["kind"] for name in gone | stays} == {"container", "volume", "network"}
    assert all(facts[name]["run"] in name and facts[name]["reason"] for name in gone)
    assert names_of(project, dead) == set()
    assert names_of(project, living) == stays
    (project.path / "go-on").touch()
    living.result().assert_outcomes(passed=1)
