"""Questions to a log that comes piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_isolate.engine.api import LogLine
from pytest_isolate.model.probes import Log, NotYet, Ready
from pytest_isolate.running.readiness.log_questions import LogQuestions

NO_TIME = float  # a clock that stands still


class Service:
    """Writes lines, and hands out the last ones; `asked` are the numbers of lines that were read."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.read: list[int] = []

    def write(self, *texts: str) -> None:
        self.lines += [LogLine(len(self.lines) + number, text) for number, text in enumerate(texts)]

    def read_lines(self, tail: int | None) -> list[LogLine]:
        found = self.lines[-tail:] if tail else self.lines
        self.read.append(len(found))
        return list(found)


@pytest.mark.parametrize(
    ("probe", "text", "answer"),
    [
        (Log(pattern="ready"), "starting\nready", Ready()),
        (Log(pattern="ready"), "starting", NotYet("found 0 of 1 times")),
        (Log(pattern="ready", times=2), "ready", NotYet("found 1 of 2 times")),
        (Log(pattern="ready", times=2), "ready ready", Ready()),
        (Log(pattern="^up$"), "not up\nup", Ready()),
        (Log(pattern="(a)(b)"), "ab", Ready()),
        (Log(pattern="one\ntwo"), "one\ntwo", Ready()),
    ],
)
def test_the_log_is_searched(probe: Log, text: str, answer: object) -> None:
    at_once, later = Service(), Service()
    at_once.write(*text.splitlines())
    questions = LogQuestions(later.read_lines, NO_TIME)
    for line in text.splitlines():
        questions.ask(probe)
        later.write(line)

    assert LogQuestions(at_once.read_lines, NO_TIME).ask(probe) == questions.ask(probe) == answer


def test_each_probe_reads_from_the_start() -> None:
    service = Service()
    service.write("two", "one")
    questions = LogQuestions(service.read_lines, NO_TIME)

    assert questions.ask(Log(pattern="one")) == Ready()
    assert questions.ask(Log(pattern="two")) == Ready()


def test_only_what_is_new_is_read_however_much_that_is() -> None:
    service = Service()
    questions, probe = LogQuestions(service.read_lines, NO_TIME), Log(pattern="line", times=10**9)
    service.write(*["line"] * 100_000)
    questions.ask(probe)
    service.read.clear()

    service.write("line")
    assert questions.ask(probe) == NotYet("found 100001 of 1000000000 times")
    assert service.read == [500]

    service.write(*["line"] * 5000)
    assert questions.ask(probe) == NotYet("found 105001 of 1000000000 times")
    assert service.read == [500, 500, 4000, 32000]

    service.write(*["line"] * 5000)
    assert questions.ask(probe) == NotYet("found 110001 of 1000000000 times")
    assert service.read == [500, 500, 4000, 32000, 10000]

    assert questions.ask(probe) == NotYet("found 110001 of 1000000000 times")


def test_lines_of_one_moment_are_told_apart_by_those_before_them() -> None:
    """An engine that knows whole seconds only."""
    service = Service()
    questions, probe = LogQuestions(service.read_lines, NO_TIME), Log(pattern="up", times=9)
    service.lines = [LogLine(1, text) for text in ("a", "up", "b", "up")]
    questions.ask(probe)
    service.lines += [LogLine(1, text) for text in ("c", "up")]

    assert questions.ask(probe) == NotYet("found 3 of 9 times")


def test_a_log_of_which_nothing_known_is_left_is_read_as_new() -> None:
    service = Service()
    questions, probe = LogQuestions(service.read_lines, NO_TIME), Log(pattern="up", times=9)
    service.write("up")
    questions.ask(probe)
    service.lines = [LogLine(99, "up")]

    assert questions.ask(probe) == NotYet("found 2 of 9 times")


class Heard:
    """An output that has said so many lines with `up`; None when it has ended."""

    def __init__(self) -> None:
        self.found: int | None = 0
        self.is_closed = False

    def count(self, probe: Log) -> int | None:
        return self.found

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_what_is_heard_is_ready_when_the_log_has_it_too(heard: Heard) -> None:
    """A test may look into the log for what was waited for."""
    service, probe = Service(), Log(pattern="up")
    questions = LogQuestions(service.read_lines, NO_TIME, heard)  # type: ignore[arg-type]

    assert questions.ask(probe) == NotYet("found 0 of 1 times")
    assert service.read == []
    heard.found = 1
    assert questions.ask(probe) == NotYet("written, but not in the log yet")
    service.write("up")
    assert questions.ask(probe) == Ready()


def test_what_the_log_does_not_show_is_ready_after_a_while(heard: Heard) -> None:
    """So much may have been written since that it is not among the last lines."""
    moments: Iterator[float] = iter([0.0, 9.0])
    service, probe = Service(), Log(pattern="up")
    questions = LogQuestions(service.read_lines, lambda: next(moments), heard)  # type: ignore[arg-type]
    heard.found = 1

    assert questions.ask(probe) == NotYet("written, but not in the log yet")
    assert questions.ask(probe) == Ready()


def test_an_output_that_has_ended_leaves_the_answer_to_the_log(heard: Heard) -> None:
    service, probe = Service(), Log(pattern="up", times=2)
    questions = LogQuestions(service.read_lines, NO_TIME, heard)  # type: ignore[arg-type]
    heard.found = 1
    questions.ask(probe)
    heard.found = None
    service.write("up", "up")

    assert questions.ask(probe) == Ready()


def test_what_was_written_before_a_new_start_does_not_count(heard: Heard) -> None:
    before, after, probe = Service(), Service(), Log(pattern="up")
    questions = LogQuestions(before.read_lines, NO_TIME, heard)  # type: ignore[arg-type]
    heard.found = 1
    before.write("up")
    assert questions.ask(probe) == Ready()

    questions.begin(after.read_lines, None)
    assert heard.is_closed
    assert questions.ask(probe) == NotYet("found 0 of 1 times")
