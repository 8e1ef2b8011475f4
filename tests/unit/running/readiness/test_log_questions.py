"""Questions to a log that comes piece by piece."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.engine.api import LogLine
from pytest_isolate.model.probes import Log, NotYet, Ready
from pytest_isolate.running.readiness import log_questions
from pytest_isolate.running.readiness.log_questions import LogQuestions, LogSearch


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
    questions = LogQuestions(later.read_lines)
    for line in text.splitlines():
        questions.ask(probe)
        later.write(line)

    assert LogQuestions(at_once.read_lines).ask(probe) == questions.ask(probe) == answer


def test_each_probe_reads_from_the_start() -> None:
    service = Service()
    service.write("two", "one")
    questions = LogQuestions(service.read_lines)

    assert questions.ask(Log(pattern="one")) == Ready()
    assert questions.ask(Log(pattern="two")) == Ready()


def test_only_what_is_new_is_read_however_much_that_is() -> None:
    service = Service()
    questions, probe = LogQuestions(service.read_lines), Log(pattern="line", times=10**9)
    service.write(*["line"] * 100_000)
    questions.ask(probe)
    service.read.clear()

    service.write("line")
    assert questions.ask(probe) == NotYet("found 100001 of 1000000000 times")
    assert service.read == [500]

    service.write(*["line"] * 5000)
    assert questions.ask(probe) == NotYet("found 105001 of 1000000000 times")
    assert service.read == [500, 500, 4000, 32000]

    assert questions.ask(probe) == NotYet("found 105001 of 1000000000 times")


def test_lines_of_one_moment_are_told_apart_by_those_before_them() -> None:
    """An engine that knows whole seconds only."""
    service = Service()
    questions, probe = LogQuestions(service.read_lines), Log(pattern="up", times=9)
    service.lines = [LogLine(1, text) for text in ("a", "up", "b", "up")]
    questions.ask(probe)
    service.lines += [LogLine(1, text) for text in ("c", "up")]

    assert questions.ask(probe) == NotYet("found 3 of 9 times")


def test_a_log_of_which_nothing_known_is_left_is_read_as_new() -> None:
    service = Service()
    questions, probe = LogQuestions(service.read_lines), Log(pattern="up", times=9)
    service.write("up")
    questions.ask(probe)
    service.lines = [LogLine(99, "up")]

    assert questions.ask(probe) == NotYet("found 2 of 9 times")


@given(
    lines=st.lists(st.text("ab \r", max_size=12), max_size=60),
    pattern=st.sampled_from(["a", "^a", "b$", "^ +$", "a+b", r"\Aa", "a.b", "^ab$", r"a\nb", "a|b"]),
    cuts=st.lists(st.integers(0, 400), max_size=20),
)
def test_the_count_is_that_of_the_whole_text(lines: list[str], pattern: str, cuts: list[int]) -> None:
    """Whole lines arrive, as engines read them; a short window stands for a long log."""
    ended = [f"{line}\n" for line in lines]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_questions, "_WINDOW", 30)
        search = LogSearch(pattern)
        marks = sorted({0, len(ended), *(cut for cut in cuts if cut < len(ended))})
        for begin, end in pairwise(marks):
            search.add("".join(ended[begin:end]))

    # What is behind the last line may still become one.
    text = "".join(ended)
    assert search.count == len(re.findall(pattern, text, re.MULTILINE))


def test_what_is_kept_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    search = LogSearch("never")
    for _ in range(100):
        search.add("a line\n" * 10_000)

    assert len(search._text) <= log_questions._WINDOW + 70_000
