"""In place on a terminal: a few lines below pytest's own, gone before it writes again. The only module with rich."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pytest_isolate.plugin.terminal.waits import Item
from pytest_isolate.text import count

_MOST_ITEMS = 6
_WIDE = 120
# The terminal shows ^C where the cursor is: behind a full line that is the next one, and a line of ours would stay.
_ROOM_FOR_INTERRUPT = len("^C^C")


class Painter:
    """Draws items, and erases them; `read_line` gives what is on the line of the cursor, None where unknown."""

    def __init__(self, out: TextIO, read_line: Callable[[], str | None], verbosity: int, *, is_coloured: bool) -> None:
        self._out = out
        self._read_line = read_line
        self._verbosity = verbosity
        self._console = _Console(file=out, force_terminal=True, no_color=not is_coloured, highlight=False, emoji=False)
        self._live: Live | None = None
        self._column = 0

    def show(self, items: Sequence[Item]) -> None:
        """Draw them, in place of those before."""
        size = os.get_terminal_size(self._out.fileno())
        self._console.width = max(size.columns - _ROOM_FOR_INTERRUPT, 20)
        self._console.height = max(size.lines, 6)
        if self._live is None:
            self._live = self._begin(max(size.columns, 1))
        self._live.update(build_table(items, self._verbosity, self._console.width, self._console.height), refresh=True)

    def hide(self) -> None:
        """Take away what is drawn; the cursor is where pytest has left it."""
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        if self._column:
            self._out.write(f"\x1b[1A\x1b[{self._column}C")
        self._out.flush()

    def _begin(self, columns: int) -> Live:
        line = self._read_line()
        self._column = cell_len(line or "") % columns
        if self._column or line is None:
            self._out.write("\n")
            self._out.flush()
        # It starts no thread, and leaves stdout and stderr alone.
        live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        live.start()
        return live


class _Console(Console):
    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002  # its name is rich's
        """Leave the cursor as it is: a run that is killed could not bring it back."""
        return False


def build_table(items: Sequence[Item], verbosity: int, width: int, height: int) -> Table:
    """One line for each item, cut to the width; a heading and a line for the rest."""
    most = 1 if verbosity < 0 else height - 4 if verbosity > 0 else _MOST_ITEMS
    shown = items[: max(1, min(most, height - 4))]
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, max_width=width // 3, overflow="ellipsis", style="bold")
    table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    table.add_column(no_wrap=True, justify="right", style="dim")
    if verbosity >= 0:
        table.add_row("isolate", Text(f"waiting for {count(len(items), 'service')}", style="dim"))
    for item in shown:
        table.add_row(Text(item.subject), _words_and_bar(item, width), Text(f"{item.seconds:.1f} s"))
    if len(items) > len(shown) and verbosity >= 0:
        table.add_row("", Text(f"and {len(items) - len(shown)} more", style="dim"))
    return table


def _words_and_bar(item: Item, width: int) -> Text | Table:
    words = Text(item.words, no_wrap=True, overflow="ellipsis")
    if not item.total:
        return words
    both = Table.grid(padding=(0, 1), expand=True)
    both.add_column(ratio=1)
    both.add_column(width=30 if width >= _WIDE else 10)
    both.add_row(words, ProgressBar(total=item.total, completed=item.done))
    return both
