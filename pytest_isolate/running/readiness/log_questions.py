"""Questions to the output of a container since its start, or to its log where the engine tells only that.

Reading a log takes the engine 0.1 s a megabyte. So of a log only what is new is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from pytest_isolate.engine.api import LogLine
from pytest_isolate.model.probes import Answer, Log, NotYet, Ready
from pytest_isolate.running.containers.output import LogSearch, Output

ReadLines = Callable[[int | None], Iterable[LogLine]]
"""Reads the last lines of a log, so many of them, or all."""
# The engine finds the last lines at once, however long the log is. Where more are new, more are asked for.
_TAIL, _GROWTH = 500, 8
# So many lines tell where it was read to; one is not enough for engines that know whole seconds only.
_OVERLAP = 20
# So many lines are searched at once.
_BATCH = 5000
# The log follows the output some milliseconds later, 82 at most as measured on a busy machine.
_LATE_S = 0.5


class LogQuestion:
    """One probe's reading of a log."""

    def __init__(self, probe: Log, read_lines: ReadLines) -> None:
        self._probe = probe
        self._read_lines = read_lines
        self._search = LogSearch(probe.pattern)
        self._last: list[LogLine] = []
        self._tail = _TAIL

    def ask(self) -> Answer:
        """Return the answer for what is written by now."""
        new = iter(self._read_new())
        while batch := list(islice(new, _BATCH)):
            self._search.add("".join(f"{line.text}\n" for line in batch))
            self._last = [*self._last, *batch][-_OVERLAP:]
        return _answer(self._probe, self._search.count)

    def _read_new(self) -> Iterable[LogLine]:
        if not self._last:
            return self._read_lines(None)
        while True:
            lines = list(self._read_lines(self._tail))
            known = self._find_known(lines)
            if known or len(lines) < self._tail:
                # As many may be new the next time.
                self._tail = max(_TAIL, 2 * (len(lines) - known))
                return lines[known:]
            self._tail *= _GROWTH

    def _find_known(self, lines: Sequence[LogLine]) -> int:
        """Return how many of these lines were read before; 0 where none of them is known."""
        for end in range(len(lines), 0, -1):
            if lines[end - 1] == self._last[-1]:
                common = min(end, len(self._last))
                if list(lines[end - common : end]) == self._last[-common:]:
                    return end
        return 0


class LogQuestions:
    """The readings of a wait, one for each probe."""

    def __init__(self, read_lines: ReadLines, now: Callable[[], float], output: Output | None = None) -> None:
        self._now = now
        self._output: Output | None = None
        self.begin(read_lines, output)

    def begin(self, read_lines: ReadLines, output: Output | None) -> None:
        """Begin anew, for a container that was started again: what it wrote before does not count."""
        self.close()
        self._read_lines, self._output = read_lines, output
        self._questions: dict[Log, LogQuestion] = {}
        self._heard: dict[Log, _Confirmation] = {}

    def ask(self, probe: Log) -> Answer:
        """Ask a probe; where there is no output to ask, its first question reads all of the log."""
        count = self._output.count(probe) if self._output else None
        if count is None:
            if probe not in self._questions:
                self._questions[probe] = LogQuestion(probe, self._read_lines)
            return self._questions[probe].ask()
        answer = _answer(probe, count)
        if isinstance(answer, NotYet):
            return answer
        now = self._now()
        if probe not in self._heard:
            self._heard[probe] = _Confirmation(probe, now + _LATE_S)
        return self._heard[probe].ask(self._read_lines, now)

    def close(self) -> None:
        """Listen no more. Safe to repeat."""
        if self._output:
            self._output.close()


class _Confirmation:
    """A look into the log for what was heard: tests may want to find there what was waited for."""

    def __init__(self, probe: Log, deadline: float) -> None:
        self._probe = probe
        self._deadline = deadline
        self._tail = _TAIL

    def ask(self, read_lines: ReadLines, now: float) -> Answer:
        search = LogSearch(self._probe.pattern)
        search.add("".join(f"{line.text}\n" for line in read_lines(self._tail)))
        # More may have been written since.
        self._tail *= _GROWTH
        is_there = search.count >= self._probe.times or now >= self._deadline
        return Ready() if is_there else NotYet("written, but not in the log yet")


def _answer(probe: Log, count: int) -> Answer:
    return Ready() if count >= probe.times else NotYet(f"found {count} of {probe.times} times")
