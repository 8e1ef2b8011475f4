"""Projects that run with the fake engine, and what it has seen."""

from __future__ import annotations

import importlib
import os
import pkgutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.engine import JOURNAL_VARIABLE, LastingEngine
from fakes.journal import Journal

import pytest_isolate.plugin
import pytest_isolate.running

# Imported here although nobody uses them: each run in this process would import them anew otherwise.
for _package in (pytest_isolate.plugin, pytest_isolate.running):
    for _module in pkgutil.walk_packages(_package.__path__, f"{_package.__name__}."):
        importlib.import_module(_module.name)

# What else is installed costs a second for each run, and has nothing to do with ours.
_WITHOUT_OTHERS = [
    word
    for name in ("anyio", "hypothesispytest", "platformdirs", "timeout", "xdist", "xdist.looponfail")
    for word in ("-p", f"no:{name}")
]
TESTS = Path(__file__).parent.parent
PREAMBLE = """
import pytest
from fakes.engine import PULLABLE, FakeEngine, open_fake
from fakes.programs import IMAGE, forever, program
from pytest_isolate import *
"""
ENGINE = """
def pytest_isolate_engine(config):
    return open_fake()
"""


class Project:
    """A folder with a conftest.py and tests. Runs happen in this process unless a test says otherwise."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.journal = Journal(self.path / "journal.jsonl")
        self.conftest()

    def conftest(self, *texts: str, engine: str = ENGINE, name: str = "conftest.py") -> None:
        self.write(name, PREAMBLE, engine, *texts)

    def tests(self, *texts: str, name: str = "test_it.py") -> None:
        self.write(name, PREAMBLE, *texts)

    def write(self, name: str, *texts: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(textwrap.dedent, texts)))

    def run(self, *args: str, isolate: bool = True) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess(*_WITHOUT_OTHERS, *self._arguments(args, isolate))

    def run_on(self, engine: LastingEngine, *args: str) -> pytest.RunResult:
        """A run in this process on an engine that outlives it."""
        arguments = [*_WITHOUT_OTHERS, *self._arguments(args, True)]
        return self.pytester.runpytest_inprocess(*arguments, plugins=[_Provided(engine)])

    def run_subprocess(self, *args: str, isolate: bool = True) -> pytest.RunResult:
        return self.pytester.runpytest_subprocess(*self._arguments(args, isolate), timeout=240)

    def run_xdist(self, *args: str, isolate: bool = True, workers: int = 2) -> pytest.RunResult:
        pytest.importorskip("xdist")
        return self.pytester.runpytest_subprocess(
            f"-n{workers}", *_WITHOUT_OTHERS[:-4], *self._arguments(args, isolate), timeout=240
        )

    def _arguments(self, args: tuple[str, ...], isolate: bool) -> list[str]:
        # Warnings are errors in the runs under test as in ours: a socket or thread that is left behind shows.
        return [*(["--isolate"] if isolate else []), "-p", "no:cacheprovider", "-W", "error", *args]


class _Provided:
    """A plugin that brings an engine along."""

    def __init__(self, engine: LastingEngine) -> None:
        self._engine = engine

    @pytest.hookimpl(optionalhook=True)
    def pytest_isolate_engine(self) -> LastingEngine:
        return self._engine


@pytest.fixture
def lasting(project: Project) -> Iterator[LastingEngine]:
    """An engine for several runs of a project, whose conftest.py names none."""
    engine = LastingEngine(project.journal)
    yield engine
    engine.end()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, where projects note what they keep, and which holds the secrets of saved passwords."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
    # Where xdist is installed it must not be asked for by whoever runs these tests.
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    project = Project(pytester)
    monkeypatch.setenv(JOURNAL_VARIABLE, str(project.journal.path))
    return project


def errors_of(result: pytest.RunResult) -> list[str]:
    """The lines of what pytest says when it refuses to run."""
    return [*result.errlines, *(line for line in result.outlines if line.startswith("ERROR: "))]


WEB = 'web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"))\n'
