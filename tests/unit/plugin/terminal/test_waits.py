"""What a run waits for, as lines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_isolate.engine.api import Progress
from pytest_isolate.plugin.terminal.waits import Item, Schedule, build_items, merge, plain_line, read_items
from pytest_isolate.running.timeline import UnderWay


def item(subject: str = "db", seconds: float = 1.0, **values: Any) -> Item:
    return Item(subject=subject, seconds=seconds, **{"doing": "ready", **values})


def under_way(what: str = "ready", subject: str = "db", progress: Progress | None = None) -> UnderWay:
    return UnderWay(what=what, subject=subject, seconds=2.5, progress=progress)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"doing": "image"}, "waits for its image"),
        ({"doing": "ready"}, "waits until it answers"),
        ({"doing": "something new"}, "starts"),
        ({"text": "asks tcp at 127.0.0.1:1: refused"}, "asks tcp at 127.0.0.1:1: refused"),
        (
            {"doing": "image", "text": "pulling x:1", "done": 34_500_000, "total": 120_000_000, "unit": "bytes"},
            "pulling x:1, 34.5 of 120.0 MB",
        ),
        ({"doing": "image", "text": "pulling x:1", "unit": "bytes"}, "pulling x:1"),
        (
            {"doing": "image", "text": "RUN make", "done": 3, "total": 8, "unit": "steps"},
            "building, step 3 of 8: RUN make",
        ),
    ],
)
def test_an_item_says_how_far_it_has_come(values: dict[str, Any], words: str) -> None:
    assert item(**values).words == words


def test_what_goes_on_is_shown_with_what_it_has_told() -> None:
    told = Progress(text="RUN make", done=1, total=2, unit="steps")

    assert build_items([under_way("image", "auth", told)], "gw1") == [
        Item(subject="auth", doing="image", text="RUN make", seconds=2.5, done=1, total=2, unit="steps", worker="gw1")
    ]


def test_what_waits_for_others_is_left_out_beside_these() -> None:
    assert [i.subject for i in build_items([under_way("dependencies", "auth"), under_way()])] == ["db"]
    assert [i.subject for i in build_items([under_way("dependencies", "auth")])] == ["auth"]


def test_items_come_through_a_note_unchanged() -> None:
    items = [item(text="x", worker="gw0"), item("auth", 3, done=1, total=2, unit="steps")]

    assert read_items(json.loads(json.dumps([{"items": [i.as_note() for i in items]}]))) == items


def test_the_longest_comes_first() -> None:
    assert [i.subject for i in merge([item("a", 1), item("b", 3), item("c", 2)])] == ["b", "c", "a"]


def test_what_several_workers_wait_for_is_told_once_by_who_knows_most() -> None:
    silent, starter = item(doing="image", seconds=9, worker="gw0"), item(text="pulling", doing="image", worker="gw1")

    assert merge([silent, starter]) == [starter]
    assert merge([starter, silent]) == [starter]
    assert merge([silent, silent]) == [silent]


def test_instances_of_different_workers_are_told_apart() -> None:
    one, other = item(text="port 1", seconds=2, worker="gw0"), item(text="port 2", worker="gw1")

    assert [i.subject for i in merge([one, other])] == ["db (gw0)", "db (gw1)"]


def told(schedule: Schedule, seconds: list[float], **values: Any) -> list[float]:
    """When an item is told that is looked at at these times."""
    return [s for s in seconds if schedule.lines([item(seconds=s, **values)])]


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [
        (-2, [30, 60, 120, 240]),
        (-1, [30, 60, 120, 240]),
        (0, [5, 10, 20, 40, 80, 140, 200, 260]),
        (1, [1, 2, 4, 8, *range(13, 303, 5)]),
        (2, [1, 2, 4, 8, *range(13, 303, 5)]),
    ],
)
def test_lines_come_at_ever_longer_distances(verbosity: int, expected: list[int]) -> None:
    assert told(Schedule(verbosity), [float(s) for s in range(300)]) == expected


def test_something_else_is_told_anew_though_it_has_the_same_name() -> None:
    schedule = Schedule(0)

    assert told(schedule, [5, 9]) == [5]
    assert told(schedule, [5], doing="image") == [5]
    assert told(schedule, [1, 6, 7]) == [6]


def test_each_step_of_a_build_is_told_when_more_is_asked_for() -> None:
    def lines(verbosity: int) -> int:
        schedule = Schedule(verbosity)
        steps = [item(seconds=5 + n / 10, unit="steps", done=n, total=9, text="RUN") for n in range(1, 4)]
        return sum(len(schedule.lines([step])) for step in steps)

    assert lines(0) == 1
    assert lines(1) == 3


def test_a_line_names_the_time_the_service_and_the_answer() -> None:
    assert plain_line(item("hr.db", 12.34, text="asks tcp: refused")) == "isolate:  12.3 s  hr.db: asks tcp: refused"


@pytest.mark.parametrize("texts", [("port 1", "port 2"), ("", "")])
def test_several_of_one_name_are_told_as_often_as_one(texts: tuple[str, str]) -> None:
    """As where modules have a service of one name each, and images are new: looked at ten times a second."""
    schedule, lines = Schedule(0), []
    for tenth in range(300):
        both = [item(seconds=tenth / 10 - late, text=text) for text, late in zip(texts, (0, 3), strict=True)]
        lines += schedule.lines(merge([one for one in both if one.seconds >= 0]))
    more = " (and 1 more)" if all(texts) else ""
    words = texts[0] or "waits until it answers"
    assert lines == [f"isolate: {s:5.1f} s  db{more}: {words}" for s in (5, 10, 20)]


def test_one_that_is_left_of_several_is_told_anew() -> None:
    schedule = Schedule(0)
    assert schedule.lines([item(seconds=9, text="1"), item(seconds=6, text="2")]) == [
        "isolate:   9.0 s  db (and 1 more): 1"
    ]
    assert schedule.lines([item(seconds=6.1, text="2")]) == ["isolate:   6.1 s  db: 2"]
    assert schedule.lines([item(seconds=6.2, text="2")]) == []


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("\x1b[32mdone\x1b[0m \x1b[2K\x1b[1A\x1b(Bhere\x1b[>4m", "done here"),
        ("10 %\r50 %\r100 %\r", "100 %"),
        ("one\r\ntwo\n\n", "one two"),
        ("a\tb\x00c\x07\x7f\x9bd\u2028e", "a b c d e"),
        ("\x1b]0;title\x07named", "named"),
        ("plain, as it was: äöü 100 %", "plain, as it was: äöü 100 %"),
    ],
)
def test_nothing_that_a_terminal_obeys_comes_through(told: str, shown: str) -> None:
    assert build_items([under_way("image", "db", Progress(text=told))])[0].text == shown
