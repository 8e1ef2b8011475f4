"""A project made of a page's blocks, to be checked or run."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

# Imported here although nobody uses it: runs in this process would import it anew, and its libraries do not bear that.
import docker  # noqa: F401
import pytest
import testcontainers.core.container  # noqa: F401

from docs.pages import ROOT, Block
from pytest_isolate.engine.api import BuildRequest, Engine

# The imports that the pages leave out.
IMPORTS = """\
from pathlib import Path

import pytest

from pytest_isolate import *

"""
# The public images cannot be pulled everywhere; those of the examples follow the same environment variables.
STAND_IN = """\
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests():
    import pytest_isolate
    from pytest_isolate.presets.mariadb import mariadb
    from pytest_isolate.presets.postgres import postgres

    def built(preset, name):
        build = {"context": "SERVICES/" + name, "network": "host"}
        return lambda *version, **changes: preset(*version, **{"build": build, **changes})

    pytest_isolate.mariadb = built(mariadb, "mariadb")
    pytest_isolate.postgres = built(postgres, "postgres")
"""
# What else is installed takes time in each run, and has nothing to do with ours.
_OTHERS = ("anyio", "hypothesispytest", "platformdirs", "timeout", "xdist", "xdist.looponfail")
FILES = ("nginx.conf", "check.sh", "auth.conf", "ann.ldif", "schema.sql")


class Project:
    """A folder in which the paths that the pages name exist."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self._monkeypatch = monkeypatch
        self.path = pytester.path
        shutil.copytree(ROOT / "examples" / "services", self.path / "services")
        for name in FILES:
            (self.path / name).touch()

    def write(self, blocks: Iterable[Block]) -> None:
        """Each block into the file that it names; declarations into conftest.py, tests into a module of their own."""
        for block in blocks:
            name = block.file_name or self._choose_name(block)
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_text() if path.exists() else ""
            imports = IMPORTS if block.language == "python" and "from pytest_isolate" not in block.text else ""
            path.write_text(f"{before}{imports}{block.text}\n")

    def plan(self, *args: str) -> pytest.RunResult:
        """Check the declarations, without an engine."""
        others = [word for name in _OTHERS for word in ("-p", f"no:{name}")]
        return self.pytester.runpytest_inprocess(*others, "--isolate-plan", *args)

    def run(self, *args: str) -> pytest.RunResult:
        """Run with a real engine, on images that need no registry."""
        (self.path / "stand_in.py").write_text(STAND_IN.replace("SERVICES", str(self.path / "services")))
        others = [word for name in _OTHERS for word in ("-p", f"no:{name}")]
        # testcontainers' own way to name another registry.
        self._monkeypatch.setenv("TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX", "pytest-isolate-docs/")
        return self.pytester.runpytest_subprocess(*others, "-p", "stand_in", "--isolate", "-ra", *args, timeout=600)

    def _choose_name(self, block: Block) -> str:
        if block.language == "toml":
            return "pyproject.toml" if "[tool." in block.text else "isolate.toml"
        return f"test_line_{block.line}.py" if block.is_test_module else "conftest.py"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return Project(pytester, monkeypatch)


@pytest.fixture(scope="session")
def built_images(real_engine: Engine) -> None:
    """The engine's cache holds the examples' images, so that the pages' own `build=` needs no network."""
    for name, tag in (("auth", "1"), ("postgres", "1"), ("postgres", "16")):
        folder = str(ROOT / "examples" / "services" / name)
        request = BuildRequest(
            tag=f"pytest-isolate-docs/{name}:{tag}", context=folder, dockerfile=f"{folder}/Dockerfile", network="host"
        )
        real_engine.build_image(request, lambda _: None)
