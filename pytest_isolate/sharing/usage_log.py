"""Log of the tests that use what a run's processes share, and when: each writes a file, and may read the others'.

To note a use costs one short write, so it is done for every test; files are read only when a test has failed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace


class LoggedUse(Struct, frozen=True, kw_only=True):
    """A test, the codes of the shared instances that it used, and from when to when."""

    test: str
    codes: tuple[str, ...]
    began: float
    ended: float = float("inf")


class UsageLog:
    """The uses that this process notes, and those of the others."""

    def __init__(self, folder: Path, process: str) -> None:
        self._folder = folder / "uses"
        self._own = self._folder / f"{process}.jsonl"
        self._file: int | None = None

    def begin(self, when: float, test: str, codes: Sequence[str]) -> None:
        """Note that a test begins."""
        self._write([when, test, *codes])

    def end(self, when: float) -> None:
        """Note that the test which has begun last ends."""
        self._write([when])

    def others(self, code: str, since: float) -> list[str]:
        """The tests of other processes that use this instance, or did at that time or later."""
        try:
            texts = [
                path.read_text(encoding="utf-8") for path in sorted(self._folder.glob("*.jsonl")) if path != self._own
            ]
        except OSError:
            return []
        uses = (use for text in texts for use in parse_uses(text.splitlines()))
        return [use.test for use in uses if code in use.codes and use.ended >= since]

    def close(self) -> None:
        """Note no more. Safe to repeat."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, what: list[object]) -> None:
        with suppress(OSError):  # the run's folder is full, or gone: its services are what an error is about
            if self._file is None:
                self._folder.mkdir(exist_ok=True)
                self._file = os.open(self._own, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            # At once, and in one piece: others may read at any time.
            os.write(self._file, (json.dumps(what) + "\n").encode())


def parse_uses(lines: Iterable[str]) -> list[LoggedUse]:
    """The uses in a file; a last line that is not complete yet does not count."""
    uses: list[LoggedUse] = []
    for line in lines:
        try:
            when, *rest = json.loads(line)
        except ValueError:
            break
        if rest:
            uses.append(LoggedUse(test=rest[0], codes=tuple(rest[1:]), began=when))
        elif uses:
            uses[-1] = replace(uses[-1], ended=when)
    return uses
