"""Runs and commands in processes from which is taken what macOS and Windows lack."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.other_system import SYSTEMS, lack

from plugin.conftest import WEB, Project

IMPORTS = """
import importlib, pkgutil, pytest_isolate
from pytest_isolate.system import SYSTEM
found = list(pkgutil.walk_packages(pytest_isolate.__path__, "pytest_isolate."))
for module in found:
    importlib.import_module(module.name)
print(SYSTEM.value, len(found))
"""
EXPECTED = {"macos": "macOS", "windows": "Windows"}


@pytest.fixture(params=SYSTEMS, autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    lack(request.param, monkeypatch)
    return str(request.param)


def run_python(*args: str, code: int = 0) -> str:
    result = subprocess.run([sys.executable, *args], capture_output=True, text=True, encoding="utf-8", check=False)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_what_is_taken_away_is_away_from_the_package_only(system: str) -> None:
    code = "import os, signal, pytest_isolate.system as s; print(os.pidfd_open, hasattr(s.os, 'pidfd_open'))"

    assert run_python("-c", code).endswith("> False\n")


def test_every_module_can_be_imported(system: str) -> None:
    name, count = run_python("-c", IMPORTS).split()

    assert name == EXPECTED[system]
    assert int(count) > 250


@pytest.mark.parametrize("workers", [0, 2])
def test_a_whole_run_passes_and_leaves_nothing(project: Project, workers: int) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=program("serve 8000 hello"), port=8000, share="worker")
        db = service(IMAGE, command=program("serve 5432 größer", "once /data/made"), port=5432, needs=["web"],
                     files={"/etc/names": {"path": "names.txt"}}, volumes={"data": "/data"},
                     share="worker")
        """,
    )
    project.write("names.txt", "Jürgen, 東京")
    project.tests(
        """
        def test_answers(web, db):
            assert web.exec("true").exit_code == 0
            assert db.exec(*program("read /etc/names")).stdout == "Jürgen, 東京"

        def test_restart(db):
            db.restart()
            assert db.port

        def test_fails(db):
            raise SystemError("on purpose")
        """
    )
    result = project.run_xdist(workers=workers) if workers else project.run_subprocess()

    result.assert_outcomes(passed=2, failed=1)
    text = result.stdout.str() + result.stderr.str()
    assert "isolate: db during" in text
    assert "INTERNALERROR" not in text
    assert not any(project.journal.left.values())


def test_a_run_without_isolation_skips(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_it(web): pass")

    project.run_subprocess(isolate=False).assert_outcomes(skipped=1)


@pytest.mark.parametrize("command", ["ps", "doctor", "gc", "logs web", "exec web true"])
def test_commands_say_that_no_engine_answers(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", "from pytest_isolate.cli.main import main; main()", *command.split()],
        capture_output=True,
        encoding="utf-8",
        env=os.environ,
        check=False,
    )

    assert result.returncode in (1, 2, 125)
    assert "tcp://127.0.0.1:1" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
