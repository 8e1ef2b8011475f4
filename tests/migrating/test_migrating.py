"""The projects of docs/migrating.md, before and after, each as it stands on the page."""

from __future__ import annotations

import os

import pytest
from docs.pages import DOCS, Block, read_blocks

from migrating.conftest import Left

PAGE = DOCS / "migrating.md"
BLOCKS = read_blocks(PAGE)
# Each project's own plugin, by its name for pytest: two of them share names of fixtures.
PLUGINS = {
    "testcontainers": "",
    "pytest-docker": "docker",
    "pytest-docker-tools": "docker_tools",
    "pytest-databases": "pytest_databases",
}
COMPOSED = "After, with the Compose file"
# What is not of use here costs time.
WITHOUT = ("anyio", "hypothesispytest", "platformdirs", "timeout", "xdist")
# Some give a server ten seconds, which a machine that is busy with other tests may take. What is ours is tried once.
_TRIES = 3
pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("images")]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, with_compose: str) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("PATH", with_compose)
    # testcontainers' clean-up helper is a public image, which cannot be pulled everywhere; nothing here crashes.
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")


def blocks(*headings: str) -> list[Block]:
    """The files under some headings."""
    return [block for block in BLOCKS if block.headings[1:] == headings]


def write(pytester: pytest.Pytester, library: str, version: str) -> None:
    """A project: the tests that all share, unless it has tests of its own, and what differs."""
    own = blocks(library, version)
    if version == COMPOSED:
        own += [block for block in blocks(library, "Before") if block.language == "yaml"]
    tests = [b for b in blocks(library, "Before") if b.is_test_module] or blocks("The tests")
    files = {block.file_name: block.text for block in (*tests, *own)}
    assert all(files), "each block says which file it is"
    for name, text in files.items():
        (pytester.path / name).write_text(text)


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    others = [word for name in WITHOUT for word in ("-p", f"no:{name}")]
    return pytester.runpytest_subprocess(*others, "-p", "no:cacheprovider", "-ra", *args, timeout=180)


def count_tests(library: str) -> int:
    return 1 if library == "pytest-databases" else 2


@pytest.mark.parametrize("library", PLUGINS)
def test_before(pytester: pytest.Pytester, left: Left, library: str) -> None:
    write(pytester, library, "Before")
    others = [word for one, name in PLUGINS.items() if name and one != library for word in ("-p", f"no:{name}")]
    for _ in range(_TRIES):
        result = run(pytester, *others)
        if result.ret == pytest.ExitCode.OK:
            break
    result.assert_outcomes(passed=count_tests(library))
    assert left.made


AFTER = [*((library, "After") for library in PLUGINS), ("pytest-docker", COMPOSED)]


@pytest.mark.parametrize(("library", "version"), AFTER)
def test_after(pytester: pytest.Pytester, left: Left, library: str, version: str) -> None:
    write(pytester, library, version)
    run(pytester, "--isolate").assert_outcomes(passed=count_tests(library))
    assert left.made
    left.wait_until_gone()


def test_before_and_after_need_no_more_than_the_page_shows() -> None:
    for library in PLUGINS:
        assert blocks(library, "Before")
    for library, version in AFTER:
        assert [block.file_name for block in blocks(library, version)] == ["conftest.py"]
        assert not any("pytest_isolate" in block.text for block in blocks(library, "Before"))


def test_every_library_on_the_page_is_run() -> None:
    run = {("The tests",), *((library, "Before") for library in PLUGINS), *AFTER}
    assert {block.headings[1:] for block in BLOCKS} == run
    assert os.environ["TESTCONTAINERS_RYUK_DISABLED"] == "true"
