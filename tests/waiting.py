"""The one loop in which tests wait. Projects under test import it too: this folder is on their path."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_for(
    question: Callable[[], Any], timeout_s: float = 60, *, pause_s: float = 0.01, show: Callable[[], object] = str
) -> Any:
    """Return the first true answer; fail, with what `show` returns, where there is none in time.

    The time is generous, for machines are busy at times: a wait that is over early costs nothing.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := question()):
        assert time.monotonic() < deadline, f"did not happen within {timeout_s} s\n{show()}"
        time.sleep(pause_s)
    return answer
