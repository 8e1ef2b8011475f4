"""Shows what tests wait for, while they wait: in place on a terminal, as plain lines elsewhere, never in between.

One thread looks a few times a second, so that a test which waits for less than half a second costs nothing. A worker
has no terminal: it notes down what it waits for, and the controller shows that.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pytest

from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.board import Board

if TYPE_CHECKING:
    from typing import Protocol

    from pytest_isolate.plugin.terminal.painter import Painter
    from pytest_isolate.plugin.terminal.waits import Item, Schedule

    class View(Protocol):
        """Where items are shown."""

        def prepare(self) -> None:
            """Something is about to be shown; may take its time."""

        def show(self, items: Sequence[Item]) -> None:
            """Show them, in place of those before."""

        def hide(self) -> None:
            """Nothing is waited for any more."""

        def close(self) -> None:
            """Nothing more is shown."""


# What takes less is over before anybody has read it.
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
        """Whether the main thread has been waiting for so long that it shows."""
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
        # Read again: whoever has waited may have gone on meanwhile. Who begins to be shown only now is left to the next
        # look, which prepares for him.
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


class PlainView:
    """Timed lines in pytest's own stream, each on a line of its own."""

    def __init__(self, terminal: pytest.TerminalReporter, out: TextIO, verbosity: int) -> None:
        self._terminal = terminal
        self._out = out
        self._verbosity = verbosity
        self._schedule: Schedule | None = None

    def prepare(self) -> None:
        """Import what decides which lines are due."""
        if self._schedule is None:
            from pytest_isolate.plugin.terminal.waits import Schedule

            self._schedule = Schedule(self._verbosity)

    def show(self, items: Sequence[Item]) -> None:
        """Write what is due."""
        assert self._schedule
        self._write(self._schedule.lines(items))

    def hide(self) -> None:
        """What is written stays."""

    def close(self) -> None:
        """Let go of the stream."""
        _close(self._out, self._terminal)

    def _write(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        # pytest's own file may lead into what it captures at this moment, ours does not.
        writer: Any = self._terminal._tw
        writer._file, own = self._out, writer._file
        try:
            if self._terminal.currentfspath:
                self._terminal.ensure_newline()
            elif writer.width_of_current_line:
                writer.line()
            for line in lines:
                writer.line(line)
            writer.flush()
        finally:
            writer._file = own


class InPlaceView:
    """Lines below pytest's own, gone before it writes again.

    What draws them is imported when there is something to draw.
    """

    def __init__(self, terminal: pytest.TerminalReporter, out: TextIO, verbosity: int, *, is_shared: bool) -> None:
        self._writer: Any = terminal._tw
        self._out = out
        self._verbosity = verbosity
        self._is_shared = is_shared
        self._lock = threading.RLock()
        self._painter: Painter | None = None
        from pytest_isolate.plugin.terminal.tracked_file import CursorTrackingFile  # only where there is a terminal

        self._guarded = CursorTrackingFile(self._writer._file, self._writer._current_line, self.hide)
        self._writer._file = self._guarded

    def prepare(self) -> None:
        """Import what draws."""
        if self._painter is None:
            from pytest_isolate.plugin.terminal.painter import Painter  # rich takes as long as a short run

            self._painter = Painter(self._out, self._read_line, self._verbosity, is_coloured=self._writer.hasmarkup)

    def show(self, items: Sequence[Item]) -> None:
        """Draw them."""
        with self._lock:
            assert self._painter
            self._painter.show(items)

    def hide(self) -> None:
        """Erase them; the cursor is where pytest has left it."""
        with self._lock:
            if self._painter:
                self._painter.hide()

    def close(self) -> None:
        """Give pytest its file back."""
        if self._writer._file is self._guarded:
            self._writer._file = self._guarded.file
        self._out.close()

    def _read_line(self) -> str | None:
        # Where nothing is captured, tests write too, and nobody knows where they have left the cursor.
        return None if self._is_shared else self._guarded.line


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


def open_view(config: pytest.Config) -> View | None:
    """The view on pytest's terminal; None where there is none. Call it while nothing is captured."""
    terminal: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:
        return None
    verbosity = config.get_verbosity()
    out = _open_again(terminal._tw._file)
    if out.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        is_shared = config.getoption("capture") == "no" and not config.pluginmanager.hasplugin("dsession")
        return InPlaceView(terminal, out, verbosity, is_shared=is_shared)
    return PlainView(terminal, out, verbosity)


def _open_again(file: TextIO) -> TextIO:
    """A file of our own where pytest's leads to now: while a test runs, its descriptor leads to what is captured."""
    try:
        descriptor = file.fileno()
    except (io.UnsupportedOperation, AttributeError):
        return file
    encoding = getattr(file, "encoding", None)
    return open(os.dup(descriptor), "w", encoding=encoding, errors="replace")


def _close(out: TextIO, terminal: pytest.TerminalReporter) -> None:
    if out is not terminal._tw._file:
        out.close()
