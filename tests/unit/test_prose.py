"""The docstrings of the package: each begins with a verb or a noun, and names what acts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest_isolate

ROOT = Path(pytest_isolate.__file__).parent
# Folders and files that are held to it, and files in them that are not yet.
DONE = (
    "__init__.py",
    "compose_files",
    "errors.py",
    "running/cleanup",
    "running/containers",
    "running/evidence",
    "running/faults",
    "running/images",
    "running/instances",
    "running/ownership",
    "running/readiness",
    "running/report",
    "running/testcontainers",
)
NOT_YET = ("running/evidence/shell.py", "running/images/snapshot_key.py")
QUESTION = re.compile(r"(What|Whether|How|Who|Which|Where)\b")
RIDDLE = re.compile(r"\b(whoever|nobody)\b", re.IGNORECASE)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings() -> Iterator[tuple[str, str]]:
    """Place and text of every docstring in what is done."""
    paths = [ROOT / name for name in DONE]
    files = {file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))}
    for file in sorted(files - {ROOT / name for name in NOT_YET}):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
            if text:
                yield f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    found = list(docstrings())
    questions = [f"{place}: {text.splitlines()[0]}" for place, text in found if QUESTION.match(text)]
    assert found
    assert len(questions) < 0.02 * len(found), "\n".join(questions)


def test_docstrings_name_what_acts() -> None:
    assert [f"{place}: {text}" for place, text in docstrings() if RIDDLE.search(text)] == []
