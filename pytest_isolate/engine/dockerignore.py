"""Files of a folder that its .dockerignore lets into a build, as the docker SDK and as BuildKit understand it.

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


_PIECES = r"(\*\*/?|\*|\?)"
_EXACT_PIECES = r"(\\.|\[\^?(?:\\.|[^\]\\])+\]|\*\*/?|\*|\?)"
_WILD = re.compile(r"[*?\[\\]")
Hits = tuple[bool, ...]


class _Pattern(Struct, frozen=True):
    """A line: its path, also as regex, and its depth; an exception puts back what the lines before it leave out."""

    text: str
    regex: re.Pattern[str]
    depth: int
    is_exception: bool


class IgnoreRules:
    """Lines of a .dockerignore as BuildKit understands them (github.com/moby/patternmatcher).

    A line also means all below what it names, and the last line that means a path decides. `above` of its methods are
    the hits of the folder around.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self._patterns = tuple(filter(None, (_parse(line, is_exact=True) for line in lines)))

    def hits(self, path: str, above: Hits = ()) -> Hits:
        """For each line true where it means the path, or a folder around it."""
        before = above or (False,) * len(self._patterns)
        return tuple(was or p.regex.fullmatch(path) is not None for p, was in zip(self._patterns, before, strict=True))

    def is_left_out(self, hits: Hits) -> bool:
        """True where the last line that means a path says so."""
        last = next((p for p, hit in zip(self._patterns[::-1], hits[::-1], strict=True) if hit), None)
        return last is not None and not last.is_exception

    def may_hold_more(self, folder: str) -> bool:
        """True where a line may put back something below a folder that is left out."""
        texts = [pattern.text for pattern in self._patterns if pattern.is_exception]
        return any(text.startswith(f"{folder}/") or _WILD.search(text) for text in texts)


def find_ignore_file(context: Path, dockerfile: Path) -> Path:
    """The file that says what is left out: the Dockerfile's own where there is one, else that of the folder."""
    own = dockerfile.with_name(dockerfile.name + IGNORE_FILE)
    return own if own.is_file() else context / IGNORE_FILE


def name_in_context(context: Path, dockerfile: Path) -> str | None:
    """Name that a Dockerfile has in the folder; None for one that lies outside, as one behind `..` may."""
    inside, folder = Path(os.path.normpath(dockerfile)), Path(os.path.normpath(context))
    return inside.relative_to(folder).as_posix() if inside.is_relative_to(folder) else None


def walk_context(context: Path, dockerfile: Path) -> Iterator[Path]:
    """Yield the files and folders that may be sent, in an order that depends on names only.

    The SDK and BuildKit differ in letters and in folders: what one of them sends counts as sent.
    """
    lines = _read_lines(context, dockerfile)
    patterns, rules = tuple(filter(None, map(_parse, lines))), IgnoreRules(lines)
    known: dict[str, Hits] = {"": ()}
    for parent, folders, files in os.walk(context, onerror=_raise):
        own = Path(parent).relative_to(context)
        above = known.pop("" if own == Path() else own.as_posix(), ())
        left_out = set()
        for name in (*folders, *files):
            path = (own / name).as_posix()
            known[path] = rules.hits(path, above)
            if _is_left_out(patterns, path) and rules.is_left_out(known[path]):
                left_out.add(name)
        yield from (Path(parent, name) for name in sorted({*folders, *files} - left_out))
        folders[:] = sorted(
            name
            for name in folders
            if name not in left_out
            or _holds_more(patterns, path := (own / name).as_posix())
            or rules.may_hold_more(path)
        )


def _read_lines(context: Path, dockerfile: Path) -> list[str]:
    path = find_ignore_file(context, dockerfile)
    lines = [line for line in (read_text(path).splitlines() if path.is_file() else []) if not line.startswith("#")]
    if any(map(_UNCLEAR.search, lines)):
        return []
    # The SDK sends these two in any case.
    kept = filter(None, (name_in_context(context, dockerfile), IGNORE_FILE))
    return [*lines, *(f"!{name}" for name in kept)]


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


def _parse(line: str, *, is_exact: bool = False) -> _Pattern | None:
    """Read a line. The SDK takes small and capital letters for the same, and no classes of letters."""
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
    regex = re.compile(_translate(text, is_exact=is_exact), re.DOTALL if is_exact else re.IGNORECASE | re.DOTALL)
    return _Pattern(text, regex, len(parts), line.startswith("!")) if parts else None


def _translate(text: str, *, is_exact: bool = False) -> str:
    """Translate a pattern to a regular expression: `*` and `?` stay within one name, `**` does not."""
    pieces = re.split(_EXACT_PIECES if is_exact else _PIECES, text)
    meanings = {"**": ".*" if text.endswith("**") else "(?:.*/)?", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    if text.endswith("**/"):
        meanings["**/"] = ".*"
    return "".join(
        meanings.get(piece) or (_read_exact(piece) if is_exact else re.escape(piece)) for piece in pieces if piece
    )


def _read_exact(piece: str) -> str:
    if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
        return re.sub(r"(?<!^)([\[&~|])", r"\\\1", piece)
    return re.escape(piece[1:] if piece.startswith("\\") and len(piece) == 2 else piece)


def _raise(error: OSError) -> None:
    raise error
