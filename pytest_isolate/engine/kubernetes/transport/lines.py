"""The thread in which the lines to an API server live, for callers that have threads of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from pytest_isolate.engine.kubernetes.transport.dial import Dialer
from pytest_isolate.errors import EngineError

Result = TypeVar("Result")
_CLOSED = "the connections to the cluster are closed"
_ENDS_WITHIN_S = 10
# Of the loop, until what was ended is closed: a line, what it carries, and their sockets.
_TURNS = 5


class Aborting(Protocol):
    """A line, or several."""

    def abort(self) -> None:
        """End it at once, in the loop."""


class Lines:
    """A loop in a thread of its own, whatever the number of lines. Safe to use from several threads."""

    def __init__(self, dialer: Dialer) -> None:
        self.dialer = dialer
        self._loop = asyncio.new_event_loop()
        self._open: WeakSet[Aborting] = WeakSet()
        self._thread = threading.Thread(target=self._run, name="isolate-lines", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of work in the loop; EngineError where the loop ends before it."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise EngineError(_CLOSED) from error
        try:
            return future.result()
        except CancelledError as error:
            raise EngineError(_CLOSED) from error

    def call(self, work: Callable[..., object], *args: object) -> None:
        """Do something in the loop, soon; nothing where it has ended."""
        try:
            self._loop.call_soon_threadsafe(work, *args)
        except RuntimeError:
            pass

    def keep(self, line: Aborting) -> None:
        """End this one, too, when all are ended. To be called in the loop."""
        self._open.add(line)

    def close(self) -> None:
        """End all lines. Safe to repeat."""
        self.call(self._loop.stop)
        self._thread.join(_ENDS_WITHIN_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._end())
        finally:
            self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for line in list(self._open):
            line.abort()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        await self._loop.shutdown_default_executor()
