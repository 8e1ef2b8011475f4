"""Which containers have died: the engine's event stream, one for the run, handed to those who wait."""

from __future__ import annotations

import threading

from pytest_isolate.engine.api import Engine, EventStream
from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import Run


class Deaths:
    """Listens in a thread of its own from `start()` to `stop()`."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self._engine = engine
        self._run = run
        self._lock = threading.Lock()
        self._events: dict[str, threading.Event] = {}
        self._stream: EventStream | None = None
        self._is_broken = False
        self._is_stopped = False

    def start(self) -> None:
        """Begin to listen; whatever dies from now on is heard."""
        self._stream = self._engine.watch(self._run.own_labels())
        threading.Thread(target=self._listen, args=(self._stream,), name="isolate-events", daemon=True).start()

    def stop(self) -> None:
        """End listening. Safe to repeat."""
        self._is_stopped = True
        if self._stream:
            self._stream.close()

    def expect(self, container_id: str) -> threading.Event:
        """An event that is set when the container dies from now on, or when nothing more can be heard."""
        event = threading.Event()
        with self._lock:
            self._events[container_id] = event
            if self._is_broken:
                event.set()
        return event

    def _listen(self, stream: EventStream) -> None:
        try:
            for death in stream:
                with self._lock:
                    event = self._events.get(death.container_id)
                if event:
                    event.set()
        except EngineError:
            pass  # whoever waits asks the engine next, and gets this error in full
        finally:
            if not self._is_stopped:
                with self._lock:
                    self._is_broken = True
                    waiting = list(self._events.values())
                for event in waiting:
                    event.set()
