"""docs/traps.md lists every trap, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "traps.md"
TRAPS = 47


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| *\d+ *\|", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named_tests() -> list[str]:
    return re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE.read_text())


def test_every_trap_has_a_row() -> None:
    assert [int(row[0]) for row in rows()] == list(range(1, TRAPS + 1))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_trap_is_covered_by_a_test_or_says_with_what_it_comes(row: list[str]) -> None:
    _, trap, covered = row
    assert len(trap) > 20
    assert "::" in covered or "comes with" in covered


@pytest.mark.parametrize("name", dict.fromkeys(named_tests()))
def test_named_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
