"""When something is shown, and that it is gone in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pytest_isolate.plugin.terminal import display as module
from pytest_isolate.plugin.terminal.display import Display, NotesView, display_noted, display_own
from pytest_isolate.plugin.terminal.waits import Item
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.timeline import Timeline

ITEM = Item(subject="db", doing="ready", seconds=1.0)


class Seen:
    """A view that notes what is done with it."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.calls: list[str] = []
        self.items: Sequence[Item] = ()
        self.shown = threading.Event()
        self._is_broken = is_broken

    def prepare(self) -> None:
        self.calls.append("prepare")

    def show(self, items: Sequence[Item]) -> None:
        self.shown.set()
        if self._is_broken:
            raise OSError("the terminal is gone")
        self.items = items
        self.calls.append("show")

    def hide(self) -> None:
        self.calls.append("hide")

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHOWN_FROM_S", 0.2)
    monkeypatch.setattr(module, "_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "_PAUSE_WHILE_SHOWN_S", 0.01)


def test_what_comes_up_between_two_looks_is_not_shown_before_the_view_is_prepared() -> None:
    answers: Iterator[list[Item]] = iter([[], [ITEM], [ITEM], [ITEM]])
    seen = Seen()
    display = Display(lambda: next(answers, []), seen)
    display.start()
    assert seen.shown.wait(5)
    display.close()

    assert seen.calls.index("prepare") < seen.calls.index("show")


@pytest.fixture
def timeline() -> Timeline:
    return Timeline(SystemClock())


@pytest.fixture
def open_display(timeline: Timeline) -> Iterator[Callable[[Seen], Display]]:
    opened: list[Display] = []

    def open_one(view: Seen) -> Display:
        opened.append(display_own(timeline, view, ""))
        return opened[-1]

    yield open_one
    for display in opened:
        display.close()


def test_a_short_wait_shows_nothing(timeline: Timeline, open_display: Callable[[Seen], Display]) -> None:
    view = Seen()
    display = open_display(view)
    for _ in range(10):
        with display.waiting(), timeline.measure("ready", "db"):
            time.sleep(0.03)
    assert view.calls == []


def test_a_long_wait_shows_until_it_ends_and_not_a_moment_longer(
    timeline: Timeline, open_display: Callable[[Seen], Display]
) -> None:
    view = Seen()
    display = open_display(view)
    with timeline.measure("ready", "db"):
        with display.waiting():
            assert view.shown.wait(10)
        done = list(view.calls)
        time.sleep(0.3)
    assert view.calls == done
    assert (done[0], done[-1]) == ("prepare", "hide")
    assert [item.subject for item in view.items] == ["db"]


def test_what_goes_on_while_nobody_waits_is_not_shown(
    timeline: Timeline, open_display: Callable[[Seen], Display]
) -> None:
    view = Seen()
    display = open_display(view)
    with timeline.measure("ready", "db"):
        with display.waiting():
            pass
        time.sleep(0.4)
    assert view.calls == []


def test_a_terminal_that_is_gone_ends_what_is_shown_and_nothing_else(
    timeline: Timeline, open_display: Callable[[Seen], Display]
) -> None:
    view = Seen(is_broken=True)
    display = open_display(view)
    with timeline.measure("ready", "db"), display.waiting():
        assert view.shown.wait(10)
    display.close()
    assert "show" not in view.calls


def test_without_a_view_there_is_no_thread(timeline: Timeline) -> None:
    before = threading.active_count()
    display = display_own(timeline, None, "")
    with display.waiting():
        assert threading.active_count() == before
    display.close()


def test_a_controller_shows_what_workers_note_until_they_take_it_back(tmp_path: Path) -> None:
    worker, view = NotesView(tmp_path, "gw1"), Seen()
    display = display_noted(tmp_path, view)
    display.start()
    worker.show([ITEM])
    assert view.shown.wait(10)
    worker.hide()
    deadline = time.monotonic() + 10
    while view.calls[-1] != "hide" and time.monotonic() < deadline:
        time.sleep(0.01)
    display.close()
    assert "hide" in view.calls[:-2]
    assert list(view.items) == [ITEM]


def test_the_note_of_a_worker_that_has_died_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    NotesView(tmp_path, "gw1").show([ITEM])
    monkeypatch.setattr(module, "_FRESH_S", 0.0)
    view = Seen()
    display = display_noted(tmp_path, view)
    display.start()
    time.sleep(0.1)
    display.close()
    assert "show" not in view.calls
