"""The limits of the layout: what a newcomer has to take in at once stays small."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest_isolate

ROOT = Path(pytest_isolate.__file__).parent


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of the package with its place."""
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{file.relative_to(ROOT)}:{node.lineno} {node.name}", node


def test_no_function_is_longer_than_fifty_lines() -> None:
    assert [place for place, node in functions() if (node.end_lineno or 0) - node.lineno >= 50] == []


def test_no_constructor_has_more_than_eight_collaborators() -> None:
    constructors = [(place, node.args) for place, node in functions() if node.name == "__init__"]
    assert constructors
    assert [place for place, args in constructors if len(args.args) + len(args.kwonlyargs) - 1 > 8] == []


def test_no_folder_has_more_than_twenty_modules() -> None:
    folders = {file.parent for file in ROOT.rglob("*.py")}
    assert [str(folder) for folder in folders if len(list(folder.glob("*.py"))) > 20] == []


# One thing at several layers: what a preset, a probe, a command or an image is, in each folder that knows of it.
TWICE = {
    "build", "client", "context", "engine", "external", "fresh", "guardian", "host", "images", "mariadb", "network",
    "plan", "postgres", "probes", "redis", "service", "translate", "up",
}  # fmt: skip


def test_no_module_has_the_name_of_another_but_where_both_are_one_thing() -> None:
    names = Counter(file.stem for file in ROOT.rglob("*.py") if file.stem != "__init__")
    assert {name for name, times in names.items() if times > 1} <= TWICE
