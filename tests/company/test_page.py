"""The examples of docs/company.md, on a real engine."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from docs.conftest import STAND_IN
from docs.pages import DOCS, ROOT, Block, read_blocks

SERVICES = ROOT / "examples" / "services"
BLOCKS = read_blocks(DOCS / "company.md")
PG = "from pytest_isolate import *\npg = service(postgres('16'))\n"
# What is not of use here costs time, or changes the order.
WITHOUT = [word for name in ("anyio", "hypothesispytest", "randomly", "xdist") for word in ("-p", f"no:{name}")]
pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("real_engine")]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Runs pytest on what was written, with images that need no registry."""
    monkeypatch.setenv("PYTHONPATH", ".", prepend=os.pathsep)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(*args: str) -> pytest.RunResult:
        (pytester.path / "stand_in.py").write_text(STAND_IN.replace("SERVICES", str(SERVICES)))
        return pytester.runpytest_subprocess(*WITHOUT, "-p", "stand_in", "--isolate", "-ra", *args, timeout=120)

    return run


def under(heading: str) -> list[Block]:
    found = [block for block in BLOCKS if heading in block.headings]
    assert found
    return found


def write(pytester: pytest.Pytester, blocks: list[Block]) -> None:
    for block in blocks:
        path = pytester.path / (block.file_name or "test_it.py")
        path.parent.mkdir(exist_ok=True)
        text = block.text.replace(
            'use = "postgres"', f'use = "postgres"\nbuild = {{ context = "{SERVICES}/postgres", network = "host" }}'
        )
        path.write_text(text)


def test_async_tests(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("pytest_asyncio")
    write(pytester, under("Async tests"))
    run().assert_outcomes(passed=1)


@pytest.mark.parametrize("way", ["toml", "python"])
def test_pytest_django(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], way: str) -> None:
    pytest.importorskip("pytest_django")
    *by_toml, by_python = under("pytest-django")
    write(pytester, by_toml)
    if way == "python":
        (pytester.path / "isolate.toml").unlink()
        (pytester.path / "conftest.py").write_text(by_python.text)
    run("--ds=shop.settings").assert_outcomes(passed=1)


def test_unittest(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    write(pytester, under("unittest"))
    run().assert_outcomes(passed=1)


def test_doctest(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    write(pytester, under("doctest"))
    (pytester.path / "conftest.py").write_text(PG)
    run("--doctest-modules", "shop.py").assert_outcomes(passed=1)
