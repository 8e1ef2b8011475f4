"""Small projects that use another plugin of pytest beside this one, each in a folder of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

import pytest
from fakes.engine import JOURNAL_VARIABLE
from fakes.journal import Journal

FOLDER = Path(__file__).parent
TESTS = FOLDER.parent
collect_ignore = ["projects"]
# pytest-asyncio wants each project to choose a scope, which these do not need.
_STRICTLY = ("-W", "error", "-W", "ignore:The configuration option")
# What is not of use in a project costs a second for each run.
_COMPANIONS = ("anyio", "asyncio", "django", "pytest_cov", "randomly", "rerunfailures", "timeout", "xdist")
_NOBODYS = ("hypothesispytest", "platformdirs")


class Project:
    """A copy of a project. Its runs are processes of their own, with the plugins that it is about."""

    def __init__(self, pytester: pytest.Pytester, name: str, companions: Collection[str]) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.journal = Journal(self.path / "journal.jsonl")
        others = [name for name in (*_COMPANIONS, *_NOBODYS) if name not in companions]
        self._without = [word for name in others for word in ("-p", f"no:{name}")]
        shutil.copytree(FOLDER / "projects" / name, self.path, dirs_exist_ok=True)

    def run(self, *args: str, isolate: bool = True, fake: bool = True) -> pytest.RunResult:
        """A run with warnings as errors: a coroutine that nobody awaits, or a socket that is left open, shows."""
        given = [*(["--isolate"] if isolate else []), *(["-p", "company.fake"] if fake else []), *self._without]
        return self.pytester.runpytest_subprocess(*given, *_STRICTLY, *args, timeout=60)

    def starts(self) -> int:
        """How many containers were started so far."""
        return len(self.journal.calls("start_container"))


@pytest.fixture
def project(
    request: pytest.FixtureRequest, pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """The project that the test's module is about."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    name = request.module.__name__.rpartition("test_")[2]
    project = Project(pytester, name, getattr(request.module, "COMPANIONS", ()))
    monkeypatch.setenv(JOURNAL_VARIABLE, str(project.journal.path))
    return project
