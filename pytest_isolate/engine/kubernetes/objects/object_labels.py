"""Labels of ours on objects of a cluster, and back. Pure.

An annotation holds all of them as they are. Each stands as a label, too, by which the server selects: as it is where it
fits (63 characters of A-Z, a-z, 0-9, `-`, `_`, `.`), else by its digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pytest_isolate.model.identity import LABEL_OWNER, LABEL_PROJECT, LABEL_REUSE, LABEL_RUN, LABEL_USER

DOMAIN = "pytest-isolate"
KIND = f"{DOMAIN}/kind"
LABELS = f"{DOMAIN}/labels"
NAME = f"{DOMAIN}/name"
ADDRESS = f"{DOMAIN}/address"
"""On a pod, the name of the Service that is its address; by this the Service finds the pod."""
CONTAINER, NETWORK, VOLUME, RUN, PROGRAM, CLAIM = "container", "network", "volume", "run", "first-process", "claim"
RUN_LABELS = (LABEL_RUN, LABEL_OWNER, LABEL_USER, LABEL_PROJECT, LABEL_REUSE)
"""Labels of objects that are a whole run's, and not those of its workers or services."""

_LONGEST = 63
_FITTING = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PART = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
# The name of a domain, which is what may stand before a slash.
_PREFIX = re.compile(rf"(?=.{{1,253}}\Z){_PART}(?:\.{_PART})*")


def digest(text: str, length: int = 12) -> str:
    """The same few characters for the same text, which any name may hold."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def object_name(name: str, *, longest: int = 50) -> str:
    """A name that a cluster takes, readable, and different for different names."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    room = longest - 13
    return f"{readable[:room].strip('-') or 'isolate'}-{digest(name)}"


def _label_key(name: str) -> str:
    prefix, slash, last = name.rpartition("/")
    fits = _FITTING.fullmatch(last) and (not slash or _PREFIX.fullmatch(prefix))
    return name if fits else f"{DOMAIN}/key-{digest(name, 40)}"


def _label_value(value: str) -> str:
    return value if not value or _FITTING.fullmatch(value) else f"digest-{digest(value, 40)}"


def describe_object(kind: str, name: str, labels: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The labels and annotations of an object that has a name and labels of ours."""
    return {
        "labels": {KIND: kind, **{_label_key(key): _label_value(value) for key, value in labels.items()}},
        "annotations": {NAME: name, LABELS: json.dumps(dict(labels), sort_keys=True)},
    }


def read_labels(found: Mapping[str, Any]) -> dict[str, str]:
    """The labels of ours that an object has."""
    text = annotation(found, LABELS)
    return {str(key): str(value) for key, value in json.loads(text).items()} if text else {}


def annotation(found: Mapping[str, Any], name: str) -> str:
    """An annotation of an object; empty where it has none."""
    return str((found["metadata"].get("annotations") or {}).get(name, ""))


def select(kind: str, labels: Mapping[str, str]) -> dict[str, str]:
    """The part of an address that selects objects with all these labels."""
    pairs = [(KIND, kind), *((_label_key(key), _label_value(value)) for key, value in labels.items())]
    return {"labelSelector": ",".join(f"{key}={value}" for key, value in pairs)}


def select_by_name(kind: str, label: str) -> dict[str, str]:
    """The part of an address that selects objects with a label of this name."""
    return {"labelSelector": f"{KIND}={kind},{_label_key(label)}"}


def has_all(found: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell that an object that was selected has these very labels: a digest may be another object's text."""
    return labels.items() <= read_labels(found).items()
