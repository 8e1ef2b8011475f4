"""Make a thing once, when it is first asked for; all get the same result or the same error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Once(Generic[Key, Value]):
    """A table of things by key, each made by the first thread that asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Key, Future[Value]] = {}

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the thing; made in this thread if it is asked for the first time."""
        with self._lock:
            future = self._made.get(key)
            is_first = future is None
            if future is None:
                future = self._made[key] = Future()
        if is_first:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def pop(self, key: Key) -> Value | None:
        """Forget a thing and return it; None where it was never made, or where making it failed."""
        with self._lock:
            future = self._made.pop(key, None)
        return None if future is None or future.exception() else future.result()

    def keys(self) -> list[Key]:
        """The keys asked for so far."""
        with self._lock:
            return list(self._made)
