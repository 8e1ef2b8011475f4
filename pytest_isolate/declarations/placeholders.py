"""The `{service.attribute}` placeholders in env, command and file contents."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

# Only what looks exactly like a placeholder is one, so JSON and most configuration files pass as they are.
# A doubled pair of braces around it stands for the literal text.
_PLACEHOLDER = re.compile(
    r"(?P<open>\{)?\{(?P<service>[A-Za-z_]\w*)\.(?P<attribute>[A-Za-z_]\w*(?:\.\w+)*)\}(?P<close>(?(open)\}))"
)

SELF = "self"


class Reference(Struct, frozen=True, order=True):
    """`{service.attribute}`; `service` is `self` for the service in whose declaration it stands."""

    service: str
    attribute: str

    def __str__(self) -> str:
        return f"{{{self.service}.{self.attribute}}}"


def parse_references(text: str) -> tuple[Reference, ...]:
    """The references in a text, in order."""
    return tuple(Reference(m["service"], m["attribute"]) for m in _PLACEHOLDER.finditer(text) if not m["open"])


def render(text: str, look_up: Callable[[Reference], str]) -> str:
    """The text with each reference replaced; `{{x.y}}` becomes the literal `{x.y}`."""

    def replacement(match: re.Match[str]) -> str:
        reference = Reference(match["service"], match["attribute"])
        return str(reference) if match["open"] else look_up(reference)

    return _PLACEHOLDER.sub(replacement, text)


def escape(text: str) -> str:
    """A text that renders to this one: nothing in it is a placeholder."""
    return _PLACEHOLDER.sub(lambda match: f"{{{match[0]}}}", text)
