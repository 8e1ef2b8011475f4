"""Shows what tests wait for, while they wait: in place on a terminal, as plain lines elsewhere, never in between.

One thread looks a few times a second, so that a test which waits for less than half a second costs nothing. A worker
has no terminal: it notes down what it waits for, and the controller shows that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.board import Board

if TYPE_CHECKING:
    from pytest_isolate.plugin.terminal.views import View
    from pytest_isolate.plugin.terminal.waits import Item


# A shorter wait is over before its line is read.
_SHOWN_FROM_S = 0.5
_PAUSE_S = 0.25
_PAUSE_WHILE_SHOWN_S = 0.1
# A note that is older was left behind by a worker that has died.
_FRESH_S = 3.0
_FOLDER = "waits"


class Display:
    """A thread that shows what `read` finds. Without a view it does nothing."""

    def __init__(self, read: Callable[[], Sequence[Item]], view: View | None) -> None:
        self._read = read
        self._view = view
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_shown = False
        self._since: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The main thread may have to wait in this block. Behind it nothing of ours is left on the terminal."""
        if self._view is None or self._since is not None:
            yield
            return
        self.start()
        self._since = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._since = None
                self._hide()

    def waits(self) -> bool:
        """True when the main thread has been waiting for so long that it is shown."""
        since = self._since
        return since is not None and time.monotonic() - since >= _SHOWN_FROM_S

    def start(self) -> None:
        """Look from here on. Safe to repeat."""
        if self._thread is None and self._view is not None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._look, name="isolate-display", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Show nothing more. Safe to repeat."""
        self._closing.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        view, self._view = self._view, None
        if view:
            view.hide()
            view.close()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self) -> Generator[None, Any, Any]:
        """pytest's main thread writes: no other line comes in between."""
        with self._lock:
            return (yield)

    def _look(self) -> None:
        while not self._closing.wait(_PAUSE_WHILE_SHOWN_S if self._is_shown else _PAUSE_S):
            try:
                self._look_once()
            except OSError:
                return  # the terminal is gone, or the run's folder; pytest finds out by itself

    def _look_once(self) -> None:
        has_items = bool(self._read())
        if has_items:
            assert self._view
            self._view.prepare()
        # Read again: a wait may have ended meanwhile. One that begins to be shown only now is left to the next look,
        # which prepares for it.
        with self._lock:
            self._update(self._read() if has_items else ())

    def _update(self, items: Sequence[Item]) -> None:
        assert self._view
        if items:
            self._is_shown = True
            self._view.show(items)
        else:
            self._hide()

    def _hide(self) -> None:
        if self._is_shown and self._view:
            self._is_shown = False
            self._view.hide()


class NotesView:
    """A worker's: what is shown is noted down for the controller."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._board = Board(folder / _FOLDER)
        self._worker = worker

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def show(self, items: Sequence[Item]) -> None:
        """Note them down."""
        notes = [item.as_note() for item in items]
        self._board.publish(self._worker, {"at": time.time(), "items": notes})

    def hide(self) -> None:
        """Take the note away."""
        self._board.withdraw(self._worker)

    def close(self) -> None:
        """Nothing is open."""


def display_own(timeline: Timeline, view: View | None, worker: str) -> Display:
    """Shows what the main thread of this process waits for."""

    def read() -> list[Item]:
        if not display.waits():
            return []
        from pytest_isolate.plugin.terminal.waits import build_items, merge  # short runs show nothing

        return merge(build_items(timeline.under_way(), worker))

    display = Display(read, view)
    return display


def display_noted(folder: Path, view: View | None) -> Display:
    """In a controller: shows what the workers have noted down."""
    board = Board(folder / _FOLDER)

    def read() -> list[Item]:
        notes = [note for note in board.records() if time.time() - note["at"] < _FRESH_S]
        if not notes:
            return []
        from pytest_isolate.plugin.terminal.waits import merge, read_items  # short runs show nothing

        return merge(read_items(notes))

    return Display(read, view)
