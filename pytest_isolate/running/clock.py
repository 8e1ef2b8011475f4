"""now() and sleep(), so that tests need not wait."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time as this package uses it."""

    def now(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Sleep until the event is set, or the time is over; says whether it is set."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Sleep until the event is set, or the time is over; says whether it is set."""
        return event.wait(timeout_s)
