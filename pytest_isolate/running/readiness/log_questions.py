"""Questions to a container's log, of which only what is new is read: reading all of it takes 0.1 s a megabyte."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pytest_isolate.engine.api import LogLine
from pytest_isolate.model.probes import Answer, Log, NotYet, Ready

ReadLines = Callable[[int | None], Sequence[LogLine]]
"""Reads the last lines of a log, so many of them, or all."""
# The engine finds the last lines at once, however long the log is. Where more are new, more are asked for.
_TAIL, _GROWTH = 500, 8
# So many lines tell where it was read to; one is not enough for engines that know whole seconds only.
_OVERLAP = 20
# What a match may span. Text that lies further back is searched no more.
_WINDOW = 64 * 1024


class LogSearch:
    """Counts the matches of a pattern in a text that comes piece by piece; `^` and `$` stand for ends of lines."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern, re.MULTILINE)
        self._text = ""
        self._begin = 0
        self._before = 0
        # A pattern that an empty text matches is found in a log without a line.
        self.count = len(self._pattern.findall(""))

    def add(self, text: str) -> None:
        """Search on."""
        self._text += text
        ends = [(match.start(), match.end()) for match in self._pattern.finditer(self._text, self._begin)]
        self.count = self._before + len(ends)
        cut = self._text.rfind("\n", self._begin, max(0, len(self._text) - _WINDOW)) + 1
        # A match across the cut may go on; it is looked at again as a whole.
        cut = next((start for start, end in ends if start < cut < end), cut)
        if cut > self._begin:
            self._before += sum(end <= cut for _, end in ends)
            # The character before stays, so that the pattern sees whether a line begins here.
            self._text, self._begin = self._text[cut - 1 :], 1


class LogQuestion:
    """One probe's reading of a log."""

    def __init__(self, probe: Log, read_lines: ReadLines) -> None:
        self._probe = probe
        self._read_lines = read_lines
        self._search = LogSearch(probe.pattern)
        self._last: list[LogLine] = []

    def ask(self) -> Answer:
        """Return the answer for what is written by now."""
        new = self._read_new()
        if new:
            self._search.add("".join(f"{line.text}\n" for line in new))
            self._last = [*self._last, *new][-_OVERLAP:]
        found, times = self._search.count, self._probe.times
        return Ready() if found >= times else NotYet(f"found {found} of {times} times")

    def _read_new(self) -> Sequence[LogLine]:
        if not self._last:
            return self._read_lines(None)
        tail = _TAIL
        while True:
            lines = self._read_lines(tail)
            known = self._find_known(lines)
            if known or len(lines) < tail:
                return lines[known:]
            tail *= _GROWTH

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

    def __init__(self, read_lines: ReadLines) -> None:
        self._read_lines = read_lines
        self._questions: dict[Log, LogQuestion] = {}

    def ask(self, probe: Log) -> Answer:
        """Ask a probe; its first question reads all of the log."""
        if probe not in self._questions:
            self._questions[probe] = LogQuestion(probe, self._read_lines)
        return self._questions[probe].ask()
