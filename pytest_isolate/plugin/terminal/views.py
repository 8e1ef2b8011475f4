"""pytest's terminal as a place where items are shown: in place below its own lines, or as plain lines elsewhere."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import pytest

if TYPE_CHECKING:
    from pytest_isolate.plugin.terminal.painter import Painter
    from pytest_isolate.plugin.terminal.waits import Item, Schedule


class View(Protocol):
    """A place where items are shown."""

    def prepare(self) -> None:
        """Import what is needed to show something; may take its time."""

    def show(self, items: Sequence[Item]) -> None:
        """Show them, in place of those before."""

    def hide(self) -> None:
        """Take them away: nothing is waited for any more."""

    def close(self) -> None:
        """Show nothing more."""


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
        """Leave what is written."""

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
        # Where nothing is captured, tests write too, and may have left the cursor anywhere.
        return None if self._is_shared else self._guarded.line


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
