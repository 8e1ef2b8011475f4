"""Durations as Compose files write them: `1m30s`."""

from __future__ import annotations

import re

from pytest_isolate.compose.nodes import Node, Refused, text_of

_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(node: Node) -> float:
    """A duration in seconds."""
    text = text_of(node)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise Refused(node, f"{text!r} is not a duration", "such as 30s, 1m30s or 500ms")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
