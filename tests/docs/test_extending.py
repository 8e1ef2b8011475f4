"""docs/extending.md holds: its examples, applied to a copy of the package, touch that many files, and work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.engine import JOURNAL_VARIABLE

from docs.pages import DOCS, ROOT, read_blocks

PAGE = DOCS / "extending.md"
PROJECTS = Path(__file__).parent / "extending"
CONFTEST = """
import pytest
from fakes.engine import open_fake

ENGINE = open_fake()


def pytest_isolate_engine(config):
    return ENGINE


@pytest.fixture
def engine():
    return ENGINE
"""


@dataclass(frozen=True)
class Case:
    """What is added, under the heading of the page, and how many files that may touch beside a new one."""

    heading: str
    project: str
    most_files: int
    arguments: tuple[str, ...] = ()


# The page says that a key takes 6 files: the sixth is its test, which here is the project.
CASES = [
    Case("A probe", "probe.py", most_files=3),
    Case("A key of a service", "key.py", most_files=4),
    Case("A backend of fresh()", "backend.py", most_files=2),
    Case("An option", "option.py", most_files=2, arguments=("--isolate-note=nightly",)),
]


def apply(diffs: list[str], root: Path) -> tuple[set[str], set[str]]:
    """Carry out the diffs of the page; the files that were there before, and those that are new."""
    changed, made = set(), set()
    for part in "\n".join(diffs).split("--- ")[1:]:
        name, _, hunks = part.partition("\n")
        path = root / name
        (changed if path.exists() else made).add(name)
        text = path.read_text() if path.exists() else ""
        for hunk in hunks.split("@@\n"):
            text = apply_hunk(text, hunk.rstrip("\n").split("\n"))
        path.write_text(text)
    return changed, made


def apply_hunk(text: str, hunk: list[str]) -> str:
    """Lines to add go before or behind the only line that begins as the one beside them; or words replace words."""
    added = [line[1:] for line in hunk if line.startswith("+")]
    beside = [line[1:] for line in hunk if line.startswith(" ")]
    taken_out = [line[1:] for line in hunk if line.startswith("-")]
    if taken_out:
        assert text.count(taken_out[0]) == 1, taken_out
        return text.replace(taken_out[0], added[0])
    lines = text.splitlines()
    if beside:
        found = [number for number, line in enumerate(lines) if line.startswith(beside[0])]
        assert len(found) == 1, (beside, found)
        place = found[0] + hunk[0].startswith(" ")
    else:
        place = 0
    return "\n".join([*lines[:place], *added, *lines[place:], ""])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.heading)
def test_what_the_page_adds_touches_few_files_and_works(case: Case, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pytest_isolate", tmp_path / "pytest_isolate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(DOCS, tmp_path / "docs")
    diffs = [b.text for b in read_blocks(PAGE) if b.section[1:] == (case.heading,) and b.language == "diff"]
    below = [diff.replace("--- ", "--- pytest_isolate/").replace("pytest_isolate/docs/", "docs/") for diff in diffs]

    changed, made = apply(below, tmp_path)

    pages = {name for name in changed if name.startswith("docs/")}
    assert len(changed - pages) <= case.most_files, changed
    assert len(pages) == 1, pages
    assert len(made) == ("backend" in case.heading), made
    run_project(tmp_path, case)


def run_project(root: Path, case: Case) -> None:
    """Run the project of a case with the copy of the package, in a process of its own."""
    project = root / "project"
    project.mkdir()
    (project / "conftest.py").write_text(CONFTEST)
    shutil.copy(PROJECTS / case.project, project / "test_it.py")
    paths = os.pathsep.join([str(root), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(root / "cache"), "PYTEST_ADDOPTS": ""}
    environment[JOURNAL_VARIABLE] = str(root / "journal.jsonl")
    others = [word for name in ("anyio", "hypothesispytest", "timeout", "xdist") for word in ("-p", f"no:{name}")]
    argv = [sys.executable, "-m", "pytest", "--isolate", "-p", "no:cacheprovider", *others, *case.arguments]

    done = subprocess.run(argv, cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert str(root) in where_the_package_is(project, environment)


def where_the_package_is(project: Path, environment: dict[str, str]) -> str:
    asked = [sys.executable, "-c", "import pytest_isolate; print(pytest_isolate.__file__)"]
    return subprocess.run(asked, cwd=project, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_page_is_for_somebody_in_a_hurry() -> None:
    assert len(PAGE.read_text().splitlines()) < 150
