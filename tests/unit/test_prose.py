"""The docstrings of the package: each begins with a verb or a noun, and names what acts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest_isolate

ROOT = Path(pytest_isolate.__file__).parent
QUESTION = re.compile(r"(What|Whether|How|Who|Whose|Which|Where)\b")
RIDDLE = re.compile(r"\b(whoever|nobody|somebody)\b", re.IGNORECASE)


def docstrings() -> Iterator[tuple[str, str]]:
    """Place and text of every docstring of the package, those of fields and constants included."""
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node.value.value.strip()


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    found = list(docstrings())
    assert len(found) > 1000
    assert [f"{place}: {text.splitlines()[0]}" for place, text in found if QUESTION.match(text)] == []


def test_docstrings_name_what_acts() -> None:
    assert [place for place, text in docstrings() if RIDDLE.search(text)] == []
