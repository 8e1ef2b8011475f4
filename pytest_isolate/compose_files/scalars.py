"""Plain scalars of YAML as Docker Compose prints them, and command lines as it cuts them.

Compose reads a file with yaml.v3, a library of Go, and writes numbers the way Go does: `True` is `true`, `1.10` is
`1.1`, `0777` is `511`. A variable in a container has that text. Lines are cut by go-shellwords, which runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

_SPACES = " \t\r\n"
_ENDS = ";&|<>"


class BadCommand(ValueError):
    """A command line that cannot be cut into words."""


def split_command(text: str) -> tuple[list[str], str]:
    """Return the words of a command line, and the rest that Compose leaves out: all from a `&&`, `|`, `;` or `>` on."""
    words: list[str] = []
    word: str | None = None
    quote = ""  # the character that ends what is quoted
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\\" and quote != "'":
            if position + 1 == len(text):
                raise BadCommand("a backslash at its end")
            position += 1
            word = (word or "") + text[position]
        elif char in "\"'" and quote in ("", char):
            quote, word = ("" if quote else char), word or ""
        elif char in _SPACES and not quote:
            words += [] if word is None else [word]
            word = None
        elif char in _ENDS and not quote:
            # `2>`: the number belongs to what is left out.
            if char == ">" and word and word[0].isdigit():
                word = None
            break
        else:
            quote = _after(char, quote, word or "")
            word = (word or "") + char
        position += 1
    if quote and position == len(text):
        raise BadCommand(f"no closing {quote}")
    words += [] if word is None else [word]
    return words, text[position:]


def _after(char: str, quote: str, word: str) -> str:
    """The end of what is quoted, behind a character that may begin or end a `$(...)` or backquotes."""
    if char == "`" and quote in ("", "`"):
        return "" if quote else "`"
    if char == ")" and quote in ("", ")"):
        return "" if quote else ")"
    if char == "(" and quote in ("", ")"):
        if quote or not word.endswith("$"):
            raise BadCommand("a ( without a dollar sign in front of it")
        return ")"
    return quote


_WORDS = {word: word.lower() for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_FLOAT = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?", re.ASCII)
_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d?-\d\d?)"
    r"(?:(?P<letter>[Tt ])(?P<time>\d\d?:\d\d?:\d\d?)(?P<fraction>\.\d+)?(?P<zone>Z|[-+]\d\d:\d\d)?)?",
    re.ASCII,
)
_INTEGERS: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(pattern, re.ASCII), base)
    for pattern, base in (
        (r"[-+]?0[xX]([0-9a-fA-F]+)", 16),
        (r"[-+]?0[bB]([01]+)", 2),
        (r"[-+]?0[oO]?([0-7]+)", 8),
        (r"[-+]?(0|[1-9]\d*)", 10),
    )
)
# Go's largest unsigned and smallest signed number of 64 bits: what lies outside is read as a float.
_LARGEST, _SMALLEST = 2**64 - 1, -(2**63)
# The exponents for which Go writes a float without one (strconv, format 'g' with the shortest precision).
_PLAIN_EXPONENTS = range(-4, 6)


def canonical(text: str) -> str:
    """The text that Compose has for a scalar without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "+-.0123456789":
        return text
    found: tuple[Callable[[str], str | None], ...] = (_as_time, _as_integer, _as_float)
    return next((said for change in found if (said := change(text)) is not None), text)


def _as_integer(text: str) -> str | None:
    digits = text.replace("_", "")
    for pattern, base in _INTEGERS:
        match = pattern.fullmatch(digits)
        if match:
            number = int(match[1], base) * (-1 if digits.startswith("-") else 1)
            return str(number) if _SMALLEST <= number <= _LARGEST else None
    return None


def _as_float(text: str) -> str | None:
    digits = text.replace("_", "")
    if not _FLOAT.fullmatch(digits):
        return None
    number = float(digits)
    return None if number in (float("inf"), float("-inf")) else _write_float(number)


def _write_float(number: float) -> str:
    """Write a float as Go does: the fewest digits that tell it from its neighbours, and an exponent of two digits."""
    sign, digits, power = Decimal(repr(number)).as_tuple()
    assert isinstance(power, int)
    shortest = "".join(map(str, digits)).lstrip("0").rstrip("0") or "0"
    exponent = len(digits) + power - 1 if number else 0
    minus = "-" if sign else ""
    if exponent in _PLAIN_EXPONENTS:
        plain = f"{Decimal(repr(abs(number))):f}"
        return minus + (plain.rstrip("0").rstrip(".") if "." in plain else plain)
    mantissa = shortest[0] + (f".{shortest[1:]}" if len(shortest) > 1 else "")
    return f"{minus}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _as_time(text: str) -> str | None:
    match = _TIME.fullmatch(text)
    # With a T there is a zone, with a space there is none; anything else is a text.
    if not match or (match["letter"] in ("T", "t")) != bool(match["zone"]):
        return None
    numbers = [int(n) for n in re.findall(r"\d+", f"{match['date']} {match['time'] or ''}")]
    try:
        moment = str(datetime(*numbers))  # type: ignore[arg-type]  # three numbers or six
    except ValueError:
        return None
    zone = "+0000 UTC" if match["zone"] in (None, "Z") else " ".join([match["zone"].replace(":", "")] * 2)
    return f"{moment}{(match['fraction'] or '').rstrip('0').rstrip('.')} {zone}"
