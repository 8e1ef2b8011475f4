"""Selectors of labels and of fields, as queries carry them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from kubernetes.fake.api.status import bad_request

Matches = Callable[[dict[str, Any]], bool]
_SET = re.compile(r"^\s*(\S+)\s+(in|notin)\s+\(([^)]*)\)\s*$")


def parse_selectors(labels: str, fields: str) -> Matches:
    """A function that says which objects both select."""
    tests = [_parse_label(text) for text in _split(labels)] + [_parse_field(text) for text in _split(fields)]
    return lambda found: all(test(found) for test in tests)


def _split(text: str) -> list[str]:
    return [part for part in re.split(r",(?![^()]*\))", text) if part.strip()]


def _parse_label(text: str) -> Matches:
    def labels(found: dict[str, Any]) -> dict[str, str]:
        return found["metadata"].get("labels") or {}

    if match := _SET.match(text):
        key, word, values = match[1], match[2], {value.strip() for value in match[3].split(",")}
        if word == "in":
            return lambda found: labels(found).get(key) in values
        return lambda found: labels(found).get(key) not in values
    for sign in ("!=", "==", "="):
        key, middle, value = (part.strip() for part in text.partition(sign))
        if middle:
            if sign == "!=":
                return lambda found: labels(found).get(key) != value
            return lambda found: labels(found).get(key) == value
    key = text.strip()
    if key.startswith("!"):
        return lambda found: key[1:] not in labels(found)
    if not re.fullmatch(r"[A-Za-z0-9./_-]+", key):
        raise bad_request(f'unable to parse requirement: invalid label key "{key}"')
    return lambda found: key in labels(found)


def _parse_field(text: str) -> Matches:
    sign = "!=" if "!=" in text else "==" if "==" in text else "="
    path, _, value = (part.strip() for part in text.partition(sign))
    known = (
        "metadata.name",
        "metadata.namespace",
        "status.phase",
        "spec.nodeName",
        "spec.restartPolicy",
        "type",
        "reason",
    )
    if path not in known and not path.startswith("involvedObject."):
        raise bad_request(f"field label not supported: {path}")

    def matches(found: dict[str, Any]) -> bool:
        here: Any = found
        for part in path.split("."):
            here = here.get(part, "") if isinstance(here, dict) else ""
        return bool((str(here) == value) != (sign == "!="))

    return matches
