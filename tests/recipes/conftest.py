"""A small project with one of the recipes in examples/ci, on a machine that has nothing of it but what it installs."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docs.pages import ROOT
from fakes.programs import IMAGE

from pytest_isolate.engine.api import Engine

RECIPES = ROOT / "examples" / "ci"
SERVER = ROOT / "benchmarks" / "images" / "web" / "server"
CONFTEST = """
from pytest_isolate import http, service

web = service(build="web", port=8000, ready=http("/"))
"""
TESTS = """
import urllib.request

def test_it_answers(web):
    with urllib.request.urlopen(web.url) as answer:
        assert answer.status == 200

def test_plain():
    pass
"""


class Machine:
    """A fresh clone of the project, a user's home beside it, and the commands that a recipe calls."""

    def __init__(self, folder: Path, wheels: Path, commands: Path) -> None:
        self.path = folder / "clone"
        self.path.mkdir(parents=True)
        self._home = folder / "home"
        self._home.mkdir()
        self._wheels = wheels
        self._commands = commands

    def write(self, mark: str) -> None:
        """The project; the mark makes its image one that nobody else has."""
        (self.path / "conftest.py").write_text(CONFTEST)
        (self.path / "test_it.py").write_text(TESTS)
        (self.path / "web").mkdir()
        shutil.copy(SERVER, self.path / "web" / "server")
        (self.path / "web" / "Dockerfile").write_text(
            f"FROM {IMAGE}\nLABEL isolate-recipes={mark}\nCOPY server /\nUSER nobody\nEXPOSE 8000\nCMD perl /server\n"
        )
        shutil.copy(RECIPES / "requirements-test.txt", self.path)

    def run(self, *command: str, code: int = 0, **variables: str) -> str:
        """What a command prints, its errors among it."""
        kept = {n: v for n, v in os.environ.items() if re.match(r"PATH$|DOCKER_|PIP_|LANG|.*_proxy$", n, re.IGNORECASE)}
        env = {
            **kept,
            "PATH": f"{self._commands}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self._home),
            "CI": "true",
            # The wheel of this very code, before any other that has its name.
            "PIP_FIND_LINKS": str(self._wheels),
            "PIP_CACHE_DIR": _pip_cache(),
            **variables,
        }
        result = subprocess.run(
            command,
            check=False,
            cwd=self.path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert result.returncode == code, result.stdout
        return result.stdout


def _pip_cache() -> str:
    command = [sys.executable, "-m", "pip", "cache", "dir"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Project:
    """One project, cloned on several machines, whose image is removed in the end."""

    def __init__(self, folder: Path, client: Any, wheels: Path, commands: Path) -> None:
        self._folder = folder
        self._client = client
        self._wheels = wheels
        self._commands = commands
        self.mark = secrets.token_hex(6)

    def clone(self, name: str) -> Machine:
        """A fresh clone on a machine of its own."""
        machine = Machine(self._folder / name, self._wheels, self._commands)
        machine.write(self.mark)
        return machine

    def images(self) -> list[str]:
        """The names of what was built of it."""
        images = self._client.images(filters={"label": [f"isolate-recipes={self.mark}"]})
        return [name for image in images for name in image["RepoTags"] or [image["Id"]]]

    def remove_images(self) -> None:
        for name in self.images():
            with suppress(Exception):
                self._client.remove_image(name, force=True)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this project's wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python as a CI job finds it: alone, with nothing installed."""
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin"


@pytest.fixture
def project(tmp_path: Path, real_engine: Engine, docker_client: Any, wheels: Path, commands: Path) -> Iterator[Project]:
    project = Project(tmp_path, docker_client, wheels, commands)
    yield project
    project.remove_images()
