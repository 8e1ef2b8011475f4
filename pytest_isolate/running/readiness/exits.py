"""Exits of containers: the engine's events, for the run and for what it keeps, handed to those who wait."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from pytest_isolate.engine.api import Engine, EventStream
from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import LABEL_RUN


class ExitWatcher:
    """Listens in a thread of its own from `start()` to `stop()`."""

    def __init__(self, engine: Engine, run_ids: Iterable[str]) -> None:
        self._engine = engine
        self._run_ids = tuple(dict.fromkeys(run_ids))
        self._lock = threading.Lock()
        self._events: dict[str, threading.Event] = {}
        self._exit_codes: dict[str, int] = {}
        self._known_ends: set[str] = set()
        self._streams: list[EventStream] = []
        self._is_broken = False
        self._is_stopped = False

    def start(self) -> None:
        """Begin to listen; whatever dies from now on is heard."""
        for run_id in self._run_ids:
            stream = self._engine.watch({LABEL_RUN: run_id})
            self._streams.append(stream)
            threading.Thread(target=self._listen, args=(stream,), name="isolate-events", daemon=True).start()

    def stop(self) -> None:
        """End listening. Safe to repeat."""
        self._is_stopped = True
        for stream in self._streams:
            stream.close()

    def watch(self, container_id: str) -> threading.Event:
        """An event that is set when the container dies from now on, or when nothing more can be heard."""
        event = threading.Event()
        with self._lock:
            self._events[container_id] = event
            self._exit_codes.pop(container_id, None)
            self._known_ends.discard(container_id)
            if self._is_broken:
                event.set()
        return event

    @property
    def is_broken(self) -> bool:
        """True when nothing more can be heard."""
        with self._lock:
            return self._is_broken

    def exit_code(self, container_id: str) -> int | None:
        """The code that a container has exited with; None where nothing was heard of its death."""
        with self._lock:
            return self._exit_codes.get(container_id)

    def note_known_end(self, container_id: str) -> None:
        """Note an end that a test asks for, or was told of: it is no failure, until the container is watched again."""
        with self._lock:
            self._known_ends.add(container_id)

    def has_failed(self, container_id: str) -> bool:
        """Return true if a container was heard to end with another code than 0, and no test of this process knows."""
        with self._lock:
            return bool(self._exit_codes.get(container_id)) and container_id not in self._known_ends

    def _listen(self, stream: EventStream) -> None:
        try:
            for death in stream:
                with self._lock:
                    event = self._events.get(death.container_id)
                    # Of those, too, that another process has started: tests of this one may use them.
                    self._exit_codes[death.container_id] = death.exit_code
                if event:
                    event.set()
        except EngineError:
            pass  # each wait asks the engine next, and gets this error in full
        finally:
            if not self._is_stopped:
                with self._lock:
                    self._is_broken = True
                    waiting = list(self._events.values())
                for event in waiting:
                    event.set()
