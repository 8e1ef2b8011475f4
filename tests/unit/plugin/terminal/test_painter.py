"""Lines in place on a terminal, seen by an emulated one."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.terminal import Terminal
from rich.console import Console

from pytest_isolate.plugin.terminal.painter import Painter, build_table
from pytest_isolate.plugin.terminal.tracked_file import CursorTrackingFile, last_line
from pytest_isolate.plugin.terminal.waits import Item


def item(subject: str = "db", text: str = "asks tcp at 127.0.0.1:40001: connection refused", **values: Any) -> Item:
    return Item(subject=subject, text=text, **{"doing": "ready", "seconds": 12.3, **values})


PULL = item("cache", "pulling redis:7", doing="image", done=30_000_000, total=120_000_000, unit="bytes")
BUILD = item("auth", "RUN " + "apt-get install everything " * 9, doing="image", done=3, total=8, unit="steps")


# Some versions of rich draw one character more.
BAR = "[━╸╺]+"


def rendered(items: list[Item], verbosity: int = 0, *, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(build_table(items, verbosity, width, height))
    lines = [last_line(line) for line in capture.get().splitlines()]
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]


def test_at_80_columns_each_item_has_one_line_with_its_answer_and_time() -> None:
    lines = rendered([PULL, BUILD, item()])

    assert [re.sub(f"( everyth.*…)? +{BAR}", " |", line) for line in lines] == [
        "isolate waiting for 3 services",
        "cache   pulling redis:7, 30.0 of 120.0 MB | 12.3 s",
        "auth    building, step 3 of 8: RUN apt-get install | 12.3 s",
        "db      asks tcp at 127.0.0.1:40001: connection refused                   12.3 s",
    ]
    assert {len(line) for line in lines[1:]} == {80}


def test_at_200_columns_there_is_room_for_more_words_and_a_longer_bar() -> None:
    lines = rendered([PULL, BUILD, item()], width=200)

    assert len(re.findall(BAR, lines[1])[0]) >= 30
    assert lines[2].count("apt-get install everything") == 4
    assert {len(line) for line in lines[1:]} == {200}


def test_more_than_six_are_counted_unless_all_are_asked_for() -> None:
    items = [item(f"s{number}") for number in range(9)]

    assert len(rendered(items)) == 8
    assert rendered(items)[-1].strip() == "and 3 more"
    assert len(rendered(items, 1)) == 10
    assert rendered(items, 1, height=10)[-1].strip() == "and 3 more"


def test_a_quiet_run_has_one_line() -> None:
    (line,) = rendered([item(), item("auth")], -1)
    assert line.split("  ")[0] == "db asks tcp at 127.0.0.1:40001: connection refused"
    assert line.endswith(" 12.3 s")


@pytest.mark.parametrize("width", [20, 33, 80])
def test_a_long_name_leaves_room_for_the_rest(width: int) -> None:
    line = rendered([item("a_service_with_a_very_long_name" * 4)], width=width)[1]

    assert "…" in line
    assert line.endswith(" s")


def test_words_of_a_service_are_no_markup() -> None:
    assert "[bold]x[/bold] :smile:" in rendered([item(text="[bold]x[/bold] :smile:")])[1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("a\nbc", "bc"),
        ("a\n", ""),
        ("first\rsecond", "second"),
        ("\x1b[32m.\x1b[0m", "."),
        ("ab\x1b]9;4;1;50\x1b\\cd", "abcd"),
        ("ab\x1b]0;title\x07", "ab"),
    ],
)
def test_the_line_of_the_cursor_is_known(text: str, line: str) -> None:
    assert last_line(text) == line


@pytest.fixture(params=[80, 200])
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    terminal = Terminal(request.param, 10)
    yield terminal
    terminal.close()


class Pen:
    """pytest's file with a painter below it."""

    def __init__(self, terminal: Terminal) -> None:
        self.file = CursorTrackingFile(terminal.out, "", lambda: self.painter.hide())  # noqa: PLW0108  # there is none yet
        self.painter = Painter(terminal.out, lambda: self.file.line, 0, is_coloured=True)


@pytest.mark.parametrize("above", [0, 8, 20])
def test_what_was_written_goes_on_where_it_stopped(terminal: Terminal, above: int) -> None:
    """Also at the lower end of the screen, where drawing makes it scroll."""
    pen = Pen(terminal)
    pen.file.write(above * "line\n" + "test_it.py \x1b[32m.\x1b[0m")
    before = terminal.read()
    pen.painter.show([PULL, item()])
    pen.painter.show([PULL, item()])
    assert any("connection refused" in line for line in terminal.read())
    pen.painter.hide()
    after = [line for line in terminal.read() if line]
    assert after == [line for line in before if line][-len(after) :]
    pen.file.write(".s\nnext")
    assert [line for line in terminal.read() if line][-2:] == ["test_it.py ..s", "next"]


def test_writing_takes_away_what_is_shown(terminal: Terminal) -> None:
    pen = Pen(terminal)
    pen.file.write("one\n")
    pen.painter.show([item()])
    pen.file.write("two")
    assert [line for line in terminal.read() if line] == ["one", "two"]


def test_the_cursor_is_never_hidden(terminal: Terminal) -> None:
    """A run that is killed could not show it again."""
    pen = Pen(terminal)
    pen.painter.show([item()])
    terminal.read()
    assert not terminal.screen.cursor.hidden


def test_where_nobody_knows_the_line_nothing_on_it_is_overwritten(terminal: Terminal) -> None:
    painter = Painter(terminal.out, lambda: None, 0, is_coloured=False)
    terminal.out.write("a test's own")
    painter.show([item()])
    painter.hide()
    terminal.out.write("next")
    assert [line for line in terminal.read() if line] == ["a test's own", "next"]
