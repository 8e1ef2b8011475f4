"""Ctrl-C pressed twice in a row: the second must not break off what the first began."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

# Later ones are meant: they break off a tear-down that hangs, as pytest's users know it.
_SAME_WITHIN_S = 1.0


def join_interrupts() -> Callable[[], None]:
    """Take SIGINTs that follow one another at once for a single one, until the returned function is called."""
    # A handler that another plugin has set stays.
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return lambda: None
    last = float("-inf")

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SAME_WITHIN_S:
            last = now
            signal.default_int_handler(number, frame)

    def restore() -> None:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, interrupt)
    return restore
