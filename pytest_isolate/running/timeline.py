"""What happened, when: frozen records, from which every report is made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_isolate.running.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One thing that took time: `what` is image, network, create, start, ready, dependencies or clean-up."""

    what: str
    subject: str
    began: float
    ended: float
    failed: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class Timeline:
    """The spans of a run, from all threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._spans: list[Span] = []

    @contextmanager
    def measure(self, what: str, subject: str) -> Iterator[None]:
        """Record how long the block takes, also when it fails."""
        began, failed = self._clock.now(), True
        try:
            yield
            failed = False
        finally:
            span = Span(what=what, subject=subject, began=began, ended=self._clock.now(), failed=failed)
            with self._lock:
                self._spans.append(span)

    @property
    def spans(self) -> tuple[Span, ...]:
        """All spans so far, in the order in which they ended."""
        with self._lock:
            return tuple(self._spans)
