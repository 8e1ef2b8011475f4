"""The project whose runs are killed, and the one of a bystander that must not notice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parent.parent
_PREAMBLE = "from fakes.programs import IMAGE, program\nfrom pytest_isolate import *\n"
# Shared by all workers, one for each worker, and one for each test: with networks and volumes of their own.
_CONFTEST = """
web = service(
    IMAGE, command=program("write /data/x y", "serve 8000 hello"), port=8000, ready=http("/"), memory="32m",
    volumes={"data": "/data"},
)
hr = stack(web=web, front=service(web, env={"BACK": "{web.url}"}))
own = service(web, share="worker")
brief = service(web, scope="function")
"""
_TESTS = """
import time
from pathlib import Path
from urllib.request import urlopen
import pytest

def look(service):
    Path("began").touch()
    with urlopen(service.url, timeout=10) as answer:
        assert answer.read() == b"hello"
    time.sleep(0.1)

@pytest.mark.parametrize("n", range(6))
def test_shared(hr, n): look(hr.front)

@pytest.mark.parametrize("n", range(3))
def test_own(own, n): look(own)

@pytest.mark.parametrize("n", range(3))
def test_brief(brief, n): look(brief)
"""
_SMALL = "def test_small(web): pass"
_BYSTANDER = """
import time
from pathlib import Path
from urllib.request import urlopen

def test_service_goes_on(web, other):
    count = 0
    while not Path("stop").exists():
        for service in (web, other.web):
            with urlopen(service.url, timeout=10) as answer:
                assert answer.read() == b"hello"
        count += 1
        Path("count.new").write_text(str(count))
        Path("count.new").replace("count")
        time.sleep(0.05)
"""


def write_project(folder: Path) -> None:
    """The project whose runs are killed; its run of `test_small.py` is the next one, which sweeps."""
    (folder / "conftest.py").write_text(_PREAMBLE + _CONFTEST)
    (folder / "test_it.py").write_text(_TESTS)
    (folder / "test_small.py").write_text(_SMALL)


def write_bystander(folder: Path) -> None:
    """A run that keeps talking to its services until there is a file `stop`, and fails if one does not answer."""
    (folder / "conftest.py").write_text(_PREAMBLE + _CONFTEST + "other = stack(web=web)\n")
    (folder / "test_it.py").write_text(_BYSTANDER)


def start_pytest(folder: Path, log: Path, args: Sequence[str]) -> subprocess.Popen[bytes]:
    """A run of pytest in another process, in a process group of its own."""
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path}
    env.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", "--isolate", "-p", "no:cacheprovider", "-q", *args]
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
