"""Files of a folder that its .dockerignore lets into a build, as the docker SDK understands it.

Not taken from the SDK: to import it takes longer than everything else that a run does for an image built before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from pytest_isolate.user_files import read_text

IGNORE_FILE = ".dockerignore"
# Engines differ in what these mean: where a line has one of them, everything counts as sent.
_UNCLEAR = re.compile(r"[\[\\]")


class _Pattern(Struct, frozen=True):
    """A line: its path, also as regex, and its depth; an exception puts back what the lines before it leave out."""

    text: str
    regex: re.Pattern[str]
    depth: int
    is_exception: bool


def walk_context(context: Path, dockerfile: Path) -> Iterator[Path]:
    """Yield the files and folders that are sent, in an order that depends on names only."""
    patterns = tuple(_read_patterns(context, dockerfile))
    for parent, folders, files in os.walk(context, onerror=_raise):
        own = Path(parent).relative_to(context)
        left_out = {name for name in (*folders, *files) if _is_left_out(patterns, (own / name).as_posix())}
        yield from (Path(parent, name) for name in sorted({*folders, *files} - left_out))
        folders[:] = sorted(n for n in folders if n not in left_out or _holds_more(patterns, (own / n).as_posix()))


def _read_patterns(context: Path, dockerfile: Path) -> Iterator[_Pattern]:
    path = context / IGNORE_FILE
    lines = read_text(path).splitlines() if path.is_file() else []
    if not any(map(_UNCLEAR.search, lines)):
        # The SDK sends these two in any case.
        kept = [dockerfile.relative_to(context).as_posix()] if dockerfile.is_relative_to(context) else []
        yield from filter(None, map(_parse, [*lines, *(f"!{name}" for name in (*kept, IGNORE_FILE))]))


def _is_left_out(patterns: Sequence[_Pattern], path: str) -> bool:
    """True where the last line that matches the path, or the folders above it down to the line's depth, says so."""
    above, decided = path.split("/")[:-1], False
    for pattern in patterns:
        fits = pattern.regex.fullmatch(path) is not None
        if not fits and above and pattern.depth <= len(above):
            fits = pattern.regex.fullmatch("/".join(above[: pattern.depth])) is not None
        if fits:
            decided = not pattern.is_exception
    return decided


def _holds_more(patterns: Sequence[_Pattern], folder: str) -> bool:
    return any(pattern.is_exception and pattern.text.startswith(folder) for pattern in patterns)


def _parse(line: str) -> _Pattern | None:
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    parts: list[str] = []
    for part in line.removeprefix("!").strip().split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    text = "/".join(parts)
    regex = re.compile(_translate(text), re.IGNORECASE | re.DOTALL)
    return _Pattern(text, regex, len(parts), line.startswith("!")) if parts else None


def _translate(text: str) -> str:
    """Translate a pattern to a regular expression: `*` and `?` stay within one name, `**` does not."""
    pieces = re.split(r"(\*\*/?|\*|\?)", text)
    meanings = {"**": ".*" if text.endswith("**") else "(?:.*/)?", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    if text.endswith("**/"):
        meanings["**/"] = ".*"
    return "".join(meanings.get(piece, re.escape(piece)) for piece in pieces)


def _raise(error: OSError) -> None:
    raise error
