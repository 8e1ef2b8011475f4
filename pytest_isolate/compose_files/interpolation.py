"""`$VARIABLE` and its longer forms in texts, as the Compose specification has them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

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


LookUp = Callable[[str], "str | None"]
_START = re.compile(r"\$(?:(?P<escaped>\$)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<brace>\{))")
_BRACED = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<op>:?[-?+])(?P<rest>.*))?", re.DOTALL)


class BadVariable(ValueError):
    """A text whose variables cannot be filled in; the text says why."""


def interpolate(text: str, look_up: LookUp, on_missing: Callable[[str], None]) -> str:
    """The text with its variables filled in; `on_missing` hears of those that have no value, which leave nothing."""
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
    """Where the `}` stands that ends what began before this position."""
    depth = 1
    for match in re.compile(r"\$\$|\$\{|\}").finditer(text, position):
        depth += {"${": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
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
    raise BadVariable(f"needs the variable {name}: {interpolate(rest, look_up, on_missing) or 'it has no value'}")
