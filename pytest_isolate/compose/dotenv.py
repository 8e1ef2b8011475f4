"""Files of environment variables: `.env`, and those that `env_file` names. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_isolate.compose.interpolation import BadVariable, LookUp, interpolate

# A quoted value may go over several lines; behind it only a comment may stand.
_LINE = re.compile(
    r"""
    [ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*
    (?:(?:=|:(?=[ \t]))[ \t]*(?:
        '(?P<single>[^']*)'[ \t]*(?:\#[^\n]*)?
        | "(?P<double>(?:[^"\\]|\\.)*)"[ \t]*(?:\#[^\n]*)?
        | (?P<plain>[^'"\n][^\n]*|(?=\n|\Z))
    ))?
    (?:\n|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_RAW_LINE = re.compile(r"[ \t]*(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?:=(?P<raw>[^\n]*))?(?:\n|\Z)")
_EMPTY = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_COMMENT = re.compile(r"(?:^|[ \t])#.*")


class BadLine(ValueError):
    """A line that sets no variable; `line` is its number."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def parse_variables(
    text: str, look_up: LookUp, on_missing: Callable[[str], None], *, is_raw: bool = False
) -> dict[str, str]:
    """The variables of a file. What stands above in it can be used below; a name alone is taken from `look_up`.

    With `is_raw` nothing is filled in, and quotes are part of the value.
    """
    found: dict[str, str] = {}

    def known(name: str) -> str | None:
        return found[name] if name in found else look_up(name)

    text, position = text.replace("\r\n", "\n"), 0
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        match = _EMPTY.match(text, position)
        if match is None:
            match = (_RAW_LINE if is_raw else _LINE).match(text, position)
            if match is None:
                raise BadLine(line, f"{text[position:].splitlines()[0]!r} sets no variable")
            try:
                value = match["raw"] if is_raw else _value(match, known, on_missing)
            except BadVariable as error:
                raise BadLine(line, str(error)) from None
            value = look_up(match["name"]) if value is None else value
            found |= {} if value is None else {match["name"]: value}
        position = match.end()
    return found


def _value(match: re.Match[str], look_up: LookUp, on_missing: Callable[[str], None]) -> str | None:
    """What a line says; None where it only names the variable."""
    if match["single"] is not None:
        return match["single"]
    if match["double"] is not None:
        filled = interpolate(match["double"], look_up, on_missing)
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), filled, flags=re.DOTALL)
    if match["plain"] is None:
        return None
    return interpolate(_COMMENT.sub("", match["plain"]).strip(), look_up, on_missing)
