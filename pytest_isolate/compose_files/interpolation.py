"""`$VARIABLE` and its longer forms in texts, as the Compose specification has them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

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
