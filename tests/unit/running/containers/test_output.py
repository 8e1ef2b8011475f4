"""Output that comes in pieces, and how it is searched."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.errors import EngineError
from pytest_isolate.model.probes import Log
from pytest_isolate.running.containers import output
from pytest_isolate.running.containers.output import LineJoiner, LogSearch, Output


@given(
    lines=st.lists(st.text("ab \r", max_size=12), max_size=60),
    pattern=st.sampled_from(["a", "^a", "b$", "^ +$", "a+b", r"\Aa", "a.b", "^ab$", r"a\nb", "a|b"]),
    cuts=st.lists(st.integers(0, 400), max_size=20),
)
def test_the_count_is_that_of_the_whole_text(lines: list[str], pattern: str, cuts: list[int]) -> None:
    """Whole lines arrive, as engines read them; a short window stands for a long log."""
    ended = [f"{line}\n" for line in lines]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_WINDOW", 30)
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

    assert len(search._text) <= output._WINDOW + 70_000


@given(
    texts=st.tuples(*[st.lists(st.text("ab\r", max_size=6), max_size=8)] * 2),
    cuts=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), max_size=30),
)
def test_lines_are_put_together_from_pieces_of_two_streams(
    texts: tuple[list[str], list[str]], cuts: list[tuple[int, int]]
) -> None:
    raw = ["".join(f"{line}\n" for line in lines).encode() for lines in texts]
    joiner, joined = LineJoiner(), b""
    for stream, length in [*cuts, (0, 10**6), (1, 10**6)]:
        joined += joiner.add(stream + 1, raw[stream][:length])
        raw[stream] = raw[stream][length:]

    assert sorted(joined.decode().split("\n")[:-1]) == sorted(
        re.sub("\r+$", "", line) for lines in texts for line in lines
    )


def test_a_line_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_LONGEST_LINE", 100)
    joiner = LineJoiner()

    assert b"".join(joiner.add(1, b"x" * 60) for _ in range(4)) == b"x" * 120 + b"\n" + b"x" * 120 + b"\n"


class Stream:
    """Pieces that are handed out one after another; `go_on` lets it come to its end, with an error where one is set."""

    def __init__(self, *pieces: bytes, error: EngineError | None = None) -> None:
        self.handed_out, self.go_on = threading.Event(), threading.Event()
        self.pieces = pieces
        self.error = error

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        yield from ((1, piece) for piece in self.pieces)
        self.handed_out.set()
        self.go_on.wait(10)
        if self.error:
            raise self.error

    def close(self) -> None:
        self.go_on.set()


UP, AGAIN = Log(pattern="^up"), Log(pattern="again$")


def test_each_probe_has_its_own_count() -> None:
    stream = Stream(b"up\nu", b"p again\n", b"up ag")
    heard = Output(stream, [UP, AGAIN])
    stream.handed_out.wait(10)

    assert (heard.count(UP), heard.count(AGAIN)) == (2, 1)
    heard.close()


def test_what_nobody_asks_for_is_searched_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_MOST_UNSEARCHED", 100)
    monkeypatch.setattr(output, "_WINDOW", 30)
    stream = Stream(*[b"up with some more\n"] * 1000)
    heard = Output(stream, [UP])
    stream.handed_out.wait(10)

    assert sum(map(len, heard._unsearched)) <= 200
    assert heard.count(UP) == 1000
    heard.close()


@pytest.mark.parametrize("error", [None, EngineError("it broke")])
def test_an_output_that_has_ended_tells_nothing_more(error: EngineError | None) -> None:
    stream = Stream(b"up\n", error=error)
    heard = Output(stream, [UP])
    assert heard.count(UP) is not None
    stream.go_on.set()
    heard._thread.join(10)

    assert heard.count(UP) is None
