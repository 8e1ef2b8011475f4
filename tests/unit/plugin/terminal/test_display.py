"""When something is shown, and that it is gone in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from waiting import wait_for

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


class Time:
    """The time as a display sees it: it goes on when a test says so. Each look of the display asks for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += threading.current_thread() is not threading.main_thread()
        return self.now

    time = monotonic

    def wait_for_looks(self) -> None:
        """Return when the display has looked, and has done what follows from that."""
        seen = self._looks
        wait_for(lambda: self._looks >= seen + 3)


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(module, "time", time)
    monkeypatch.setattr(module, "_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_PAUSE_WHILE_SHOWN_S", 0.001)
    return time


def test_what_comes_up_between_two_looks_is_not_shown_before_the_view_is_prepared() -> None:
    answers: Iterator[list[Item]] = iter([[], [ITEM], [ITEM], [ITEM]])
    seen = Seen()
    display = Display(lambda: next(answers, []), seen)
    display.start()
    assert seen.shown.wait(60)
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


def test_a_short_wait_shows_nothing(timeline: Timeline, open_display: Callable[[Seen], Display], time: Time) -> None:
    view = Seen()
    display = open_display(view)
    for _ in range(10):
        with display.waiting(), timeline.measure("ready", "db"):
            time.now += 0.49
            time.wait_for_looks()
    assert view.calls == []


def test_a_long_wait_shows_until_it_ends_and_not_a_moment_longer(
    timeline: Timeline, open_display: Callable[[Seen], Display], time: Time
) -> None:
    view = Seen()
    display = open_display(view)
    with timeline.measure("ready", "db"):
        with display.waiting():
            time.now += 0.5
            assert view.shown.wait(60)
        done = list(view.calls)
        with display.waiting():
            time.wait_for_looks()
    assert view.calls == done
    assert (done[0], done[-1]) == ("prepare", "hide")
    assert [item.subject for item in view.items] == ["db"]


def test_what_goes_on_while_nobody_waits_is_not_shown(
    timeline: Timeline, open_display: Callable[[Seen], Display], time: Time
) -> None:
    view = Seen()
    display = open_display(view)
    with timeline.measure("ready", "db"):
        with display.waiting():
            pass
        time.now += 60
        with display.waiting():
            time.wait_for_looks()
    assert view.calls == []


def test_a_terminal_that_is_gone_ends_what_is_shown_and_nothing_else(
    timeline: Timeline, open_display: Callable[[Seen], Display], time: Time
) -> None:
    view = Seen(is_broken=True)
    display = open_display(view)
    with timeline.measure("ready", "db"), display.waiting():
        time.now += 0.5
        assert view.shown.wait(60)
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
    assert view.shown.wait(60)
    worker.hide()
    wait_for(lambda: view.calls[-1] == "hide")
    display.close()
    assert "hide" in view.calls[:-2]
    assert list(view.items) == [ITEM]


def test_the_note_of_a_worker_that_has_died_is_not_shown(tmp_path: Path, time: Time) -> None:
    NotesView(tmp_path, "gw1").show([ITEM])
    time.now += 3
    view = Seen()
    display = display_noted(tmp_path, view)
    display.start()
    time.wait_for_looks()
    display.close()
    assert "show" not in view.calls
