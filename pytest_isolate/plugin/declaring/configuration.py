"""Finds the file that holds declarations in TOML. Every run does so, so it reads text and loads no parser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

TABLE = "pytest-isolate"


class Source(NamedTuple):
    """A file with declarations, its text, and the tables above them."""

    path: Path
    text: str
    tables: tuple[str, ...]


def find_configuration(rootpath: Path) -> Source | None:
    """`pyproject.toml` where it has our table, else `isolate.toml`, both in pytest's root folder."""
    path = rootpath / "pyproject.toml"
    # It belongs to others too: one that is odd, and does not name us, is no business of ours.
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError:
        content = b""
    if f"tool.{TABLE}".encode() in content.replace(b"\0", b""):
        return Source(path, _decode(path, content), ("tool", TABLE))
    path = rootpath / "isolate.toml"
    content = _read(path) if os.path.lexists(path) else b""
    return Source(path, _decode(path, content), ()) if content else None


def _read(path: Path) -> bytes:
    from pytest_isolate.user_files import MOST_TEXT_BYTES, read_bytes  # only where there is a file

    try:
        return read_bytes(path, MOST_TEXT_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> pytest.UsageError:
    return pytest.UsageError(f"{path.name} cannot be read: {error.strerror or error}")


def _decode(path: Path, content: bytes) -> str:
    from pytest_isolate.user_files import MOST_TEXT_BYTES, check_size

    try:
        check_size(path, len(content), MOST_TEXT_BYTES)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(path, error) from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        text = f"{path.name}:{line}: not a text in UTF-8, which TOML asks for: {error.reason}; save it in that encoding"
        raise pytest.UsageError(text) from None
