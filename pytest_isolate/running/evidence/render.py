"""Text about a service in a failed test's report: its state, and its log by phase, cut in the middle. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from pytest_isolate.engine.api import Commands, ContainerState, LogLine
from pytest_isolate.text import count

# Limits for a phase and for a line: more than that hides the test's own error. The rest can be stored.
MOST_LINES = 60
MOST_CHARACTERS = 1000
NOT_STORED = "not stored: "
"""It stands before the reason why a log is in no file."""
START = "start"
"""Phase before set-up, of a service that only this test uses."""
_KILLED = 128 + 9
# signal(7): those of x86 and ARM, from 1 on, and the number of the last that has no name.
_SIGNALS = (
    *(
        "HUP",
        "INT",
        "QUIT",
        "ILL",
        "TRAP",
        "ABRT",
        "BUS",
        "FPE",
        "KILL",
        "USR1",
        "SEGV",
        "USR2",
        "PIPE",
        "ALRM",
        "TERM",
    ),
    *("STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO"),
    *("PWR", "SYS"),
)
_MOST_SIGNALS = 64
# Control sequences of terminals (ECMA-48), and other characters that move a cursor or are not allowed in XML.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f]")


class Part(Struct, frozen=True, kw_only=True):
    """Lines of one phase of a test: how many there were, and the first and the last of them."""

    phase: str
    count: int
    first: tuple[LogLine, ...]
    last: tuple[LogLine, ...] = ()


class Evidence(Struct, frozen=True, kw_only=True):
    """State and lines of a service that a failed test used.

    `others` are tests that used it meanwhile, so that some of the lines may be theirs; `before` tells of one that had
    ended so shortly before that the engine may have read its last lines too late. Not settled is what was read without
    waiting for such lines. `commands` are for a shell, to look inside.
    """

    service: str
    container: str
    state: str
    is_running: bool
    parts: tuple[Part, ...]
    others: tuple[str, ...] = ()
    before: str = ""
    is_settled: bool = True
    is_kept: bool = False
    commands: str = ""
    stored: str = ""
    """The file that holds all lines, or why there is none; empty where none was asked for."""

    @property
    def count(self) -> int:
        """Number of lines that the service wrote."""
        return sum(part.count for part in self.parts)


def split_phases(
    lines: Iterable[LogLine],
    began: Sequence[tuple[str, float]],
    *,
    is_own: bool,
    write: Callable[[str, LogLine], None] | None = None,
) -> tuple[Part, ...]:
    """Split a log by phase. Lines before the first phase belong to the test only where the service is its own.

    Of each phase the lines that are shown are kept, and no more: a log may be larger than memory. `write` gets all of
    them, with their phases.
    """
    phases = [(START, float("-inf")), *began] if is_own else list(began)
    moments = [when for _, when in phases]
    counts = [0] * len(phases)
    first: list[list[LogLine]] = [[] for _ in phases]
    last: list[deque[LogLine]] = [deque(maxlen=MOST_LINES // 2) for _ in phases]
    for line in lines:
        number = bisect_right(moments, line.when) - 1
        if number < 0:
            continue
        counts[number] += 1
        (last if counts[number] > MOST_LINES // 2 else first)[number].append(line)
        if write:
            write(phases[number][0], line)
    return tuple(
        Part(phase=phase, count=counts[number], first=tuple(first[number]), last=tuple(last[number]))
        for number, (phase, _) in enumerate(phases)
        if counts[number]
    )


def clip_phases(began: Sequence[tuple[str, float]], since: float) -> list[tuple[str, float]]:
    """Return the phases that ended after `since`; one that had begun before begins there."""
    ends = [*(when for _, when in began[1:]), float("inf")]
    return [(phase, max(when, since)) for (phase, when), end in zip(began, ends, strict=True) if end > since]


def describe_state(state: ContainerState, since: float) -> str:
    """Describe a container's state in words; `since` is the moment when the test began."""
    if not state.is_running:
        return f"{_describe_exit(state)}{_at(state.ended_at, since)}"
    word = "paused" if state.is_paused else "running"
    # A container that runs and has an end was started again.
    return f"{word}, restarted{_at(state.started_at, since)}" if state.ended_at else word


def commands_inside(commands: Commands, name: str, *, is_running: bool) -> str:
    """Return the shell commands for a look inside a container."""
    inside = commands.enter(name) if is_running else commands.copy_out(name)
    return f"{inside}; {commands.logs(name)}"


def section_title(evidence: Evidence, phases: Sequence[str]) -> str:
    """Title of a report section. pytest shows sections of a tear-down only where the title has that word."""
    *first, last = phases
    when = f"{', '.join(first)} and {last}" if first else last
    title = f"isolate: {evidence.service} during {when}"
    if not evidence.others:
        return title
    others = "another test" if len(evidence.others) == 1 else f"{len(evidence.others)} other tests"
    return f"{title}, used by {others} at the same time"


def render(evidence: Evidence) -> list[str]:
    """Lines of a report section."""
    lines = [f"state   {evidence.state}"]
    lines += [f"inside  {evidence.commands}"] if evidence.commands else []
    if evidence.others:
        lines.append(f"others  lines may be of {_some(evidence.others)}: they used it at the same time")
    lines += ["kept    lines may be of other runs, which use it too"] if evidence.is_kept else []
    lines += [f"before  {evidence.before}"] if evidence.before else []
    if not evidence.is_settled:
        lines.append("hurry   its last lines may be missing: so many tests have failed that they were not waited for")
    lines += [f"stored  {evidence.stored}"] if evidence.stored else []
    for part in evidence.parts:
        lines.append(f"{part.phase} ({count(part.count, 'line')})")
        lines += [f"  {text}" for text in _show(part, evidence.stored)]
    return lines if evidence.parts else [*lines, "log     it wrote nothing"]


def _show(part: Part, stored: str) -> list[str]:
    """The first and last lines of a phase; a line between them tells how many are left out."""
    first, last = (
        [f"{_clock(line.when)}  {cut_line(_plain(line.text))}" for line in some] for some in (part.first, part.last)
    )
    left_out = part.count - len(first) - len(last)
    if not left_out:
        return [*first, *last]
    where = _where(stored) if stored else "--isolate-artifacts=DIR stores all"
    return [*first, f"... {left_out} lines left out; {where} ...", *last]


def _where(stored: str) -> str:
    return stored if stored.startswith(NOT_STORED) else f"all are in {stored}"


def render_uncut(line: LogLine) -> str:
    """A line of the file that stores the whole log."""
    return f"{_clock(line.when)}  {_plain(line.text)}"


def cut_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """Keep the beginning and the end of a line."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ... {len(text) - 2 * half} characters left out ... {text[-half:]}"


def _describe_exit(state: ContainerState) -> str:
    code = state.exit_code
    if code is None:
        return "created, never started"
    text = f"exited with code {code}"
    if 128 < code <= 128 + _MOST_SIGNALS:
        text += f" ({_signal_name(code - 128)})"
    if state.is_out_of_memory:
        return f"{text}, out of memory"
    # Docker 20.10 sometimes misses that a container ran out of memory.
    return f"{text}, killed or out of memory" if code == _KILLED else text


def _signal_name(number: int) -> str:
    """The name on Linux, where containers run: other systems give these numbers to other signals, or to none."""
    name = _SIGNALS[number - 1] if number <= len(_SIGNALS) else ""
    return f"SIG{name}" if name else f"signal {number}"  # real-time signals have no name of their own


def _at(when: float, since: float) -> str:
    if not when:
        return ""
    return f" at {_clock(when)}, {'during' if when >= since else 'before'} this test"


def _clock(when: float) -> str:
    return datetime.fromtimestamp(when).strftime("%H:%M:%S.%f")[:-3]


def _plain(text: str) -> str:
    return _CONTROL.sub("", text).expandtabs()


def _some(tests: Sequence[str]) -> str:
    more = len(tests) - 3
    return ", ".join(tests[:3]) + (f" and {more} more" if more > 0 else "")
