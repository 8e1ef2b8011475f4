"""Calls a function of the user's, async or not, and tells what it has raised in the user's own lines."""

from __future__ import annotations

import inspect
import threading
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any

_NOT_THE_USERS = ("asyncio", "concurrent", "threading.py")
_HERE = Path(__file__).parents[2]


def call(function: Callable[[Any], object], handle: object) -> None:
    """Return when it has ended; a coroutine is run to its end on a loop of asyncio's."""
    made = function(handle)
    if inspect.iscoroutine(made):
        _run_apart(made)


def describe_failure(error: BaseException) -> str:
    """The exception with the user's own lines: those above them, of this package and of the loop, say nothing."""
    shown = error.__traceback__
    while shown and _is_not_the_users(shown) and shown.tb_next:
        shown = shown.tb_next
    return "".join(traceback.format_exception(type(error), error, shown)).strip()


def _run_apart(coroutine: Coroutine[Any, Any, object]) -> None:
    # In a thread of its own: in this one a loop may run already, and a loop that ends here would take its place.
    import asyncio  # costs more than most runs spend on functions

    raised: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="isolate-async", daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _is_not_the_users(frame: TracebackType) -> bool:
    path = Path(frame.tb_frame.f_code.co_filename)
    return path.is_relative_to(_HERE) or any(word in path.parts[-3:] for word in _NOT_THE_USERS)
