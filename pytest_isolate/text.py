"""Texts as people read them: columns, counts, words in place of control codes and of secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path


def without_root(text: str, root: Path) -> str:
    """A text with the root folder taken off every path in it, but not out of an address such as unix:///path."""
    return re.sub(rf"(?<!//){re.escape(str(root))}{re.escape(os.sep)}", "", text)


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """A text for people, without the passwords in it."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def plain_text(text: str) -> str:
    """What a build prints, without the colours (ECMA-48 control sequences)."""
    return _COLOURS.sub("", text)


def align(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows as lines, in columns."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def count(number: int, one: str) -> str:
    """`1 network`, `2 networks`."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
