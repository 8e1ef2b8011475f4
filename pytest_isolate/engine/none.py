"""No engine, for runs whose every service runs already: there is nothing to clean up, and nothing can be started."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn, cast

from pytest_isolate.engine.api import Engine, EngineFacts, Event
from pytest_isolate.errors import EngineError


class NoEvents:
    """Nothing ever dies."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Event]:
        self._closed.wait()
        return iter(())

    def close(self) -> None:
        self._closed.set()


class NullEngine:
    """Answers clean-up, for which there is nothing; all else is an error."""

    def facts(self) -> EngineFacts:
        return EngineFacts(name="no engine", version="", address="", is_local=True)

    def close(self) -> None:
        """Nothing is open."""

    def watch(self, labels: Mapping[str, str]) -> NoEvents:  # noqa: ARG002  # as of any engine
        return NoEvents()

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith(("list_", "find_labelled", "labels_of", "dropped_")):
            return lambda *_: ()

        def refuse(*_: object) -> NoReturn:
            raise EngineError(
                f"there is no container engine in this run, so it cannot be asked to {name.replace('_', ' ')}",
                found="every service that the selected tests were known to need runs already",
            )

        return refuse


def open_null_engine() -> Engine:
    """An engine that is none."""
    return cast(Engine, NullEngine())
