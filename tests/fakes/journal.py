"""What was asked of fake engines, and what was left on them, in a file: runs of pytest may be in other processes."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict as asdict_of


class Journal:
    """Lines of JSON, appended by engines, read by tests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def write(self, **facts: object) -> None:
        line = json.dumps(facts, default=_plain) + "\n"
        with self._lock, self.path.open("a") as file:
            file.write(line)

    def entries(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def calls(self, *names: str) -> list[list[Any]]:
        """The arguments of each call of these methods, in order."""
        return [e["args"] for e in self.entries() if e.get("call") in names]

    @property
    def is_empty(self) -> bool:
        """Whether no engine was asked anything."""
        return not self.entries()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Every container that was asked for, but those that only show what is in an image."""
        return [args[0] for args in self.calls("create_container") if "-look-" not in args[0]["name"]]

    @property
    def images(self) -> list[str]:
        return sorted(request["image"] for request in self.requests)

    @property
    def services(self) -> list[str]:
        """The service of each container that was asked for, in order."""
        return [request["labels"]["pytest-isolate.service"] for request in self.requests]

    @property
    def left(self) -> dict[str, list[str]]:
        """What was still there when engines were closed; a test that asks has had at least one engine closed."""
        closed = [e["left"] for e in self.entries() if "left" in e]
        assert closed, "no engine was closed"
        return {kind: [name for left in closed for name in left[kind]] for kind in closed[0]}

    def assert_nothing_is_left(self) -> None:
        assert not any(self.left.values()), self.left


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Struct):
        return {name: _plain(field) if isinstance(field, Struct) else field for name, field in asdict_of(value).items()}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return repr(value)
