"""The record of a run: what happened, when. Every report is made from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec import Struct

from pytest_isolate.engine.api import Progress
from pytest_isolate.running.clock import Clock


class Span(Struct, frozen=True, kw_only=True):
    """One thing that took time: `what` is image, network, create, start, ready, dependencies or clean-up."""

    what: str
    subject: str
    began: float
    ended: float
    failed: bool = False
    thread: int = 0
    """Each instance is started in a thread of its own, so what belongs to one start has one thread."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.ended - self.began


class UnderWay(Struct, frozen=True, kw_only=True):
    """The innermost span of a thread that has not ended, and what it has told last."""

    what: str
    subject: str
    seconds: float
    progress: Progress | None = None


class Path(Struct, frozen=True, kw_only=True):
    """Length of a start from the moment when it was asked for, and of each of its parts, the longest first."""

    subject: str
    seconds: float
    parts: Mapping[str, float]


def trace_starts(spans: Sequence[Span]) -> list[Path]:
    """Return the path of each start that succeeded."""
    paths = []
    for start in spans:
        if start.what != "start" or start.failed:
            continue
        own = [s for s in spans if (s.thread, s.subject) == (start.thread, start.subject) and s.ended <= start.ended]
        # A thread's number is used again: only what has come after the start before this one counts.
        since = max((s.ended for s in own if s.what == "start" and s is not start), default=float("-inf"))
        parts = {s.what: s.seconds for s in own if s.began >= since and s is not start}
        began = min((s.began for s in own if s.began >= since), default=start.began)
        longest_first = dict(sorted(parts.items(), key=lambda part: -part[1]))
        paths.append(Path(subject=start.subject, seconds=start.ended - began, parts=longest_first))
    return paths


class Timeline:
    """The spans of a run, from all threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        # For each thread what it is in, the innermost last: what, subject, since when.
        self._open: dict[int, list[tuple[str, str, float]]] = {}
        self._told: dict[int, Progress] = {}
        self._works_for: dict[int, int] = {}
        self.notes: list[str] = []
        """Texts on things that deserve a look, though nothing has failed; shown at the end of the run."""

    @contextmanager
    def measure(self, what: str, subject: str) -> Iterator[None]:
        """Record how long the block takes, also when it fails."""
        began, failed, thread = self._clock.now(), True, threading.get_ident()
        with self._lock:
            self._open.setdefault(thread, []).append((what, subject, began))
            self._told.pop(thread, None)
        try:
            yield
            failed = False
        finally:
            span = Span(what=what, subject=subject, began=began, ended=self._clock.now(), failed=failed, thread=thread)
            with self._lock:
                self._spans.append(span)
                self._open[thread].pop()
                self._told.pop(thread, None)

    def note(self, text: str) -> None:
        """Note what deserves a look, once."""
        with self._lock:
            if text not in self.notes:
                self.notes.append(text)

    def on_progress(self, progress: Progress) -> None:
        """Note how far the work of this thread has come."""
        thread = threading.get_ident()
        self._told[self._works_for.get(thread, thread)] = progress

    @contextmanager
    def working_for(self, thread: int) -> Iterator[None]:
        """Have the progress of this thread told as that of another one, which waits for it."""
        own = threading.get_ident()
        self._works_for[own] = thread
        try:
            yield
        finally:
            del self._works_for[own]

    def under_way(self) -> tuple[UnderWay, ...]:
        """Return what goes on right now, the longest first."""
        now = self._clock.now()
        with self._lock:
            # A thread that has come to its end leaves an empty list, as often as its number is used again.
            at = [(spans[-1], self._told.get(thread)) for thread, spans in self._open.items() if spans]
        at.sort(key=lambda one: one[0][2])
        return tuple(
            UnderWay(what=what, subject=subject, seconds=now - began, progress=told)
            for (what, subject, began), told in at
        )

    @property
    def spans(self) -> tuple[Span, ...]:
        """All spans so far, in the order in which they ended."""
        with self._lock:
            return tuple(self._spans)
