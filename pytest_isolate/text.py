"""Texts as people read them: columns, counts, words in place of control codes and of secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

# Colours and other sequences that a terminal obeys, messages to the terminal itself, and the rest (ECMA-48 CSI, OSC).
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\].*?(?:\x1b\\|\x07)|\x1b[ -/]*[0-~]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def without_root(text: str, root: Path) -> str:
    """A text with the root folder taken off every path in it, but not out of an address such as unix:///path."""
    return re.sub(rf"(?<!//){re.escape(str(root))}{re.escape(os.sep)}", "", text)


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """A text for people, without the passwords in it."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def plain_text(text: str) -> str:
    """A text without the control sequences of terminals."""
    return _CONTROLS.sub("", text)


def one_line(text: str) -> str:
    """A text on one line, without anything that a terminal obeys; of a line that was written over, the last state."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in plain_text(text).split("\n"))
    return _UNPRINTABLE.sub(" ", " ".join(filter(None, lines))).strip()


def align(rows: Sequence[Sequence[str]], indent: str = "", *, numbers: bool = False) -> list[str]:
    """Rows as lines, in columns; with numbers all columns but the first are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if numbers and i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append(indent + "  ".join(cells).rstrip())
    return lines


def count(number: int, one: str, many: str = "") -> str:
    """`1 network`, `2 networks`; `many` where the plural has no s at its end."""
    return f"{number} {one}" if number == 1 else f"{number} {many or one + 's'}"


_MOST_NAMES = 5


def name_some(names: Sequence[str]) -> str:
    """The first few of some names, and the number of the rest."""
    rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + rest
