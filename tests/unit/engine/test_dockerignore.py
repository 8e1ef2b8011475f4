"""What a .dockerignore leaves: no less than the library that sends builds, which is asked beside, and as BuildKit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_isolate.engine.dockerignore import IgnoreRules, name_in_context, walk_context

PATTERNS = ["a", "A", "*", "**", "*.py", "a/*", "**/b", "a/**", "a/**/b", "/a/", "./b", "a/../b", "?", "b*", "**/c.py"]
FILES = st.lists(st.sampled_from(["a", "b", "ab", "c.py", ".git"]), min_size=1, max_size=3).map("/".join)
LINES = st.lists(st.builds(str.__add__, st.sampled_from(["", "", "!"]), st.sampled_from(PATTERNS)), max_size=4)


def fill(folder: Path, files: Iterable[str]) -> None:
    for name in files:
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except (FileExistsError, NotADirectoryError):
            pass  # a file where another name wants a folder


def sent(folder: Path, dockerfile: str = "Dockerfile") -> list[str]:
    return [path.relative_to(folder).as_posix() for path in walk_context(folder, folder / dockerfile)]


@settings(max_examples=200, deadline=None)
@given(lines=LINES, files=st.lists(FILES, max_size=8))
def test_all_that_the_library_sends_counts_as_sent(lines: list[str], files: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, ["Dockerfile", *files])
        (folder / ".dockerignore").write_text("\n".join(lines))
        assert set(exclude_paths(name, list(lines))) <= set(sent(folder))


@pytest.mark.parametrize(
    ("lines", "left_out"),
    [
        ("# docs\n\n", []),
        ("**/__pycache__", ["a/__pycache__", "a/__pycache__/x.pyc"]),
        ("docs\n!docs/a.md", ["docs", "docs/b.md"]),
        ("*.log", ["x.log"]),
        ("*.LOG", []),
        ("a/?.log", ["a/x.log"]),
        ("[d]ocs", []),
        (r"doc\s", []),
    ],
)
def test_lines_by_example(tmp_path: Path, lines: str, left_out: list[str]) -> None:
    fill(tmp_path, ["a/__pycache__/x.pyc", "docs/a.md", "docs/b.md", "x.log", "a/x.log", "a/xx.log"])
    everything = set(sent(tmp_path))
    (tmp_path / ".dockerignore").write_text(lines)
    assert sorted(everything - set(sent(tmp_path))) == left_out


def test_the_dockerfile_is_sent_whatever_the_file_says(tmp_path: Path) -> None:
    fill(tmp_path, ["docker/Dockerfile", "a"])
    (tmp_path / ".dockerignore").write_text("*\n")
    assert sent(tmp_path, "docker/Dockerfile") == [".dockerignore", "docker/Dockerfile"]


def test_a_dockerfile_beside_the_folder_is_not_in_it(tmp_path: Path) -> None:
    beside = tmp_path / "context" / ".." / "docker" / "Dockerfile"
    assert name_in_context(tmp_path / "context", beside) is None
    assert name_in_context(tmp_path, beside) == "docker/Dockerfile"


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sent(tmp_path / "nothing")


def left_out(lines: str, *paths: str) -> list[str]:
    """The paths that BuildKit is not sent."""
    rules = IgnoreRules(lines.split())
    found = []
    for path in paths:
        hits: tuple[bool, ...] = ()
        for end in range(1, path.count("/") + 2):
            hits = rules.hits("/".join(path.split("/")[:end]), hits)
        found += [path] * rules.is_left_out(hits)
    return found


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("docs", ["docs/a.md", "docs/sub/b.md"]),
        ("/docs/", ["docs/a.md", "docs/sub/b.md"]),
        ("DOCS", []),
        ("**/b.md", ["docs/sub/b.md"]),
        ("**/sub !docs/sub/b.md", []),
        ("* !docs docs/sub", ["docs/sub/b.md", "src/x1.py", "src/x]2.py", "y.py"]),
        ("src/x[0-9].py", ["src/x1.py"]),
        ("src/[^y]1.py", ["src/x1.py"]),
        (r"src/x\]2.py", ["src/x]2.py"]),
        ("src/x[", []),
        ("?.py", ["y.py"]),
        ("**", ["docs/a.md", "docs/sub/b.md", "src/x1.py", "src/x]2.py", "y.py"]),
    ],
)
def test_lines_as_buildkit_reads_them(lines: str, expected: list[str]) -> None:
    assert left_out(lines, "docs/a.md", "docs/sub/b.md", "src/x1.py", "src/x]2.py", "y.py") == expected


def test_an_ignore_file_of_the_dockerfile_takes_the_place_of_the_folders(tmp_path: Path) -> None:
    fill(tmp_path, ["dev.Dockerfile", "a", "b"])
    (tmp_path / ".dockerignore").write_text("a\n")
    (tmp_path / "dev.Dockerfile.dockerignore").write_text("b\n")
    assert "a" in sent(tmp_path, "dev.Dockerfile")
    assert "b" not in sent(tmp_path, "dev.Dockerfile")
    assert "b" in sent(tmp_path)
