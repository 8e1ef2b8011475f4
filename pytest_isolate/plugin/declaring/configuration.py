"""Finds the file that holds declarations in TOML. Every run does so, so it reads text and loads no parser."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

TABLE = "pytest-isolate"


class Source(NamedTuple):
    """A file with declarations, its text, and the tables above them."""

    path: Path
    text: str
    tables: tuple[str, ...]


def find_configuration(rootpath: Path) -> Source | None:
    """`pyproject.toml` where it has our table, else `isolate.toml`, both in pytest's root folder."""
    text = _read(rootpath / "pyproject.toml")
    if f"tool.{TABLE}" in text:
        return Source(rootpath / "pyproject.toml", text, ("tool", TABLE))
    text = _read(rootpath / "isolate.toml")
    return Source(rootpath / "isolate.toml", text, ()) if text else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
