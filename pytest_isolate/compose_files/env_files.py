"""Files of variables (`.env`, `env_file`), read by the rules that Docker Compose reads them by (compose-go, dotenv)."""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_isolate.compose_files.interpolation import BadVariable, LookUp, interpolate

_SPACE = " \t\v\f\r"
_NAME = re.compile(r"(?:export[ \t]+)?(?P<name>[\w.\-\[\]]+)[ \t]*(?P<end>[=:]|\n|\Z)")
_RAW_LINE = re.compile(r"[ \t]*(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?:=(?P<raw>[^\n]*))?(?:\n|\Z)")
_EMPTY = re.compile(r"(?:[ \t\v\f\r\n]|#[^\n]*)*")
_SINGLE = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r'\\(?:([abfnrtv$"\\])|0(\d{1,3}))')
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "$": "$$"}


class BadLine(ValueError):
    """A line that sets no variable; `line` is its number."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def parse_variables(
    text: str, look_up: LookUp, on_missing: Callable[[str], None], *, is_raw: bool = False
) -> dict[str, str]:
    """Return the variables of a file. A value may use what stands above it; a name alone is taken from `look_up`.

    With `is_raw` nothing is filled in, and quotes are part of the value.
    """
    found: dict[str, str] = {}

    def known(name: str) -> str | None:
        return found[name] if name in found else look_up(name)

    text, position = text.replace("\r\n", "\n"), 0
    while (position := _skip_empty(text, position)) < len(text):
        match = (_RAW_LINE if is_raw else _NAME).match(text, position)
        line = text.count("\n", 0, position) + 1
        if match is None:
            raise BadLine(line, f"{text[position:].splitlines()[0]!r} sets no variable")
        try:
            value, position = (
                (match["raw"], match.end())
                if is_raw
                else _value(text, match, lambda t: interpolate(t, known, on_missing))
            )
        except BadVariable as error:
            raise BadLine(line, str(error)) from None
        value = look_up(match["name"]) if value is None else value
        found |= {} if value is None else {match["name"]: value}
    return found


def _skip_empty(text: str, position: int) -> int:
    match = _EMPTY.match(text, position)
    return match.end() if match else position


def _value(text: str, name: re.Match[str], fill: Callable[[str], str]) -> tuple[str | None, int]:
    """The value behind a name, None where a line only names the variable, and where it ends.

    Behind the closing quote Compose begins to read the next variable, on the same line too.
    """
    position = name.end()
    if name["end"] not in ("=", ":"):
        return None, position
    while text[position : position + 1] and text[position] in _SPACE:
        position += 1
    quote = text[position : position + 1]
    if quote not in ("'", '"') or not quote:
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        return fill(text[position:end].partition(" #")[0].rstrip()), end
    match = (_SINGLE if quote == "'" else _DOUBLE).match(text, position)
    if match is None:
        line = text.count("\n", 0, position) + 1
        raise BadLine(line, f"{text[position:].splitlines()[0]!r} has no closing quote")
    if quote == "'":
        return match[1].replace("\\'", "'"), match.end()
    return fill(_ESCAPE.sub(_unescape, match[1])), match.end()


def _unescape(match: re.Match[str]) -> str:
    if match[2]:
        return chr(int(match[2], 8)) if set(match[2]) <= set("01234567") else match[0]
    return _ESCAPED.get(match[1], match[1])
