"""`$VARIABLE` and its longer forms in texts, and files of variables (`.env`, `env_file`). Pure.

Texts follow the Compose specification, files the rules of compose-go's dotenv.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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


LookUp = Callable[[str], "str | None"]
# A default may hold a variable with a default in turn; more levels than anybody writes would only cost time.
_MAX_DEPTH = 50
_START = re.compile(r"\$(?:(?P<escaped>\$)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<brace>\{))")
_BRACED = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<op>:?[-?+])(?P<rest>.*))?", re.DOTALL)


class BadVariable(ValueError):
    """A text whose variables cannot be filled in; the text says why. `needed` is the variable that has no value."""

    def __init__(self, reason: str, needed: str = "") -> None:
        super().__init__(reason)
        self.needed = needed


def interpolate(text: str, look_up: LookUp, on_missing: Callable[[str], None]) -> str:
    """Fill in the variables of a text; `on_missing` hears of those that have no value, which leave nothing."""
    done, position = [], 0
    while match := _START.search(text, position):
        done.append(text[position : match.start()])
        position = match.end()
        if match["escaped"]:
            done.append("$")
        elif match["name"]:
            done.append(_plain(match["name"], look_up, on_missing))
        else:
            end = _closing_brace(text, position)
            done.append(_braced(text[position:end], look_up, on_missing))
            position = end + 1
    return "".join([*done, text[position:]])


def _plain(name: str, look_up: LookUp, on_missing: Callable[[str], None]) -> str:
    value = look_up(name)
    if value is None:
        on_missing(name)
    return value or ""


def _closing_brace(text: str, position: int) -> int:
    """Find the `}` that ends what began before this position."""
    depth = 1
    for match in re.compile(r"\$\$|\$\{|\}").finditer(text, position):
        depth += {"${": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
        if depth > _MAX_DEPTH:
            raise BadVariable(f"has variables within variables, more than {_MAX_DEPTH} deep")
    raise BadVariable(f"${{{text[position:]} has no closing brace")


def _braced(inner: str, look_up: LookUp, on_missing: Callable[[str], None]) -> str:
    match = _BRACED.fullmatch(inner)
    if not match:
        raise BadVariable(f"${{{inner}}} is not a variable")
    name, operator, rest = match["name"], match["op"] or "", match["rest"] or ""
    value = look_up(name)
    # A colon has an empty value count as none.
    is_there = value is not None and (value != "" or not operator.startswith(":"))
    match operator[-1:]:
        case "":
            return _plain(name, look_up, on_missing)
        case "-":
            return value or "" if is_there else interpolate(rest, look_up, on_missing)
        case "+":
            return interpolate(rest, look_up, on_missing) if is_there else ""
    if is_there:
        return value or ""
    why = interpolate(rest, look_up, on_missing) or "it has no value"
    raise BadVariable(f"needs the variable {name}: {why}", needed=name)
