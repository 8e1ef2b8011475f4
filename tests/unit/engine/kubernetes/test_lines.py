"""The loop of the lines to an API server, when it ends under those who wait in it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pytest_isolate.engine.kubernetes.transport.lines import Lines
from pytest_isolate.errors import EngineError

NO_DIALER: Any = None


def test_who_waits_when_all_lines_are_closed_is_told() -> None:
    lines, is_waiting = Lines(NO_DIALER), threading.Event()

    async def wait() -> None:
        is_waiting.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: lines.run(wait()))
        assert is_waiting.wait(60)
        lines.close()
        with pytest.raises(EngineError, match="the connections to the cluster are closed"):
            waiting.result(60)


def test_who_comes_later_is_told_too() -> None:
    lines = Lines(NO_DIALER)
    lines.close()

    async def work() -> None: ...

    with pytest.raises(EngineError, match="the connections to the cluster are closed"):
        lines.run(work())
