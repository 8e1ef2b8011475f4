"""Deaths of containers, as they happen: by lines on which first processes ring; beyond some, by asking in turn."""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from pytest_isolate.engine.api import Event
from pytest_isolate.engine.kubernetes.first_control import FirstControl, read_state
from pytest_isolate.engine.kubernetes.pods import Pods
from pytest_isolate.errors import EngineError, ObjectNotFound

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.transport.exec_stream import ExecStream

_KILLED = 137
_PAUSE_S = 0.5
_THREADS = 4
# A line is a connection to the API server, and one of its node's. Containers beyond these are asked in turn.
MOST_LINES = 64
_ASKED_IN_A_SECOND = 10


class PodDeaths:
    """Deaths of containers with certain labels, of those that run and those that this process starts."""

    def __init__(self, control: FirstControl, pods: Pods, labels: Mapping[str, str]) -> None:
        self._control = control
        self._pods = pods
        self._labels = labels
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._lines: dict[str, ExecStream | None] = {}  # None while one is being opened
        self._starts: dict[str, int] = {}  # of those whose end is waited for
        self._lock = threading.Lock()
        self._agenda = Agenda()

    def __iter__(self) -> Iterator[Event]:
        while (event := self._events.get()) is not None:
            yield event
        self._events.put(None)  # for another thread that reads

    def started(self, pod: str, labels: Mapping[str, str], *, is_new: bool = True) -> None:
        """Wait for the end of a container that has been started. Of one that is not new, no earlier end is told."""
        if not self._labels.items() <= labels.items():
            return
        with self._lock:
            is_awaited = pod in self._starts
            self._starts[pod] = self._starts.get(pod, 0) + 1
        if not is_awaited:
            self._agenda.put(self._await if is_new else self._await_if_running, pod)

    def close(self) -> None:
        self._agenda.close()
        with self._lock:
            lines = list(filter(None, self._lines.values()))
        for line in lines:
            line.close()
        self._events.put(None)

    # -- what the agenda's threads do ----------------------------------------------------------------------------------

    def _await_if_running(self, pod: str) -> None:
        try:
            is_running = self._pods.inspect(pod).is_running
        except ObjectNotFound:
            is_running = False
        except EngineError:  # the cluster is away
            self._agenda.put(self._await_if_running, pod, after_s=_PAUSE_S)
            return
        if is_running:
            self._await(pod)
        else:
            with self._lock:
                starts = self._starts[pod]
            self._settle(pod, starts)

    def _await(self, pod: str) -> None:
        with self._lock:
            starts = self._starts[pod]
            has_line = len(self._lines) < MOST_LINES and not self._pods.is_unheld(pod)
            if has_line:
                self._lines[pod] = None
        if not has_line:
            self._ask(pod, starts)
            return
        try:
            line = self._control.wait(pod)
        except EngineError:
            self._forget_line(pod)
            self._ask(pod, starts)
            return
        with self._lock:
            self._lines[pod] = line
        if self._agenda.is_closed:
            line.close()
        line.when_ended(partial(self._agenda.put, partial(self._take_ring, line, starts), pod))

    def _take_ring(self, line: ExecStream, starts: int, pod: str) -> None:
        """Tell the end that a line has brought; where it broke before, ask."""
        answer = b""
        try:
            while (piece := line.receive(0)) is not None:
                answer += piece[1]
        except EngineError:
            answer = b""
        self._forget_line(pod)
        line.close()
        state = read_state(answer.decode()) if answer.startswith(b"ok ") else None
        if state and state.state == "ended":
            self._tell(pod, state.exit_code)
            self._settle(pod, starts)
        else:
            self._ask(pod, starts)

    def _ask(self, pod: str, starts: int) -> None:
        try:
            exit_code = self._pods.inspect(pod).exit_code
        except ObjectNotFound:
            exit_code = _KILLED  # it was removed
        except EngineError:
            exit_code = None  # the cluster is away: asked again
        if exit_code is not None:
            self._tell(pod, exit_code)
            self._settle(pod, starts)
            return
        with self._lock:
            waiting = len(self._starts) - len(self._lines)
        self._agenda.put(self._await, pod, after_s=max(_PAUSE_S, waiting / _ASKED_IN_A_SECOND))

    def _forget_line(self, pod: str) -> None:
        with self._lock:
            self._lines.pop(pod, None)

    def _tell(self, pod: str, exit_code: int) -> None:
        if not self._agenda.is_closed:
            self._pods.note_end(pod)
            self._events.put(Event(container_id=pod, exit_code=exit_code))

    def _settle(self, pod: str, starts: int) -> None:
        """Wait no more for a container whose end is told, unless it was started again meanwhile."""
        with self._lock:
            is_over = self._starts[pod] == starts
            if is_over:
                del self._starts[pod]
        if not is_over:
            self._agenda.put(self._await, pod)


class Agenda:
    """Work on pods, done in the order of its time by a few threads, which begin with the first."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._work: list[tuple[float, int, Callable[[str], None], str]] = []
        self._numbers = itertools.count()
        self._threads = 0
        self.is_closed = False

    def put(self, work: Callable[[str], None], pod: str, *, after_s: float = 0) -> None:
        """Do this after so many seconds; nothing where the agenda is closed."""
        with self._news:
            if self.is_closed:
                return
            heapq.heappush(self._work, (time.monotonic() + after_s, next(self._numbers), work, pod))
            if self._threads < _THREADS:
                self._threads += 1
                threading.Thread(target=self._run, name="isolate-deaths", daemon=True).start()
            self._news.notify_all()

    def close(self) -> None:
        """Begin nothing more. Safe to repeat."""
        with self._news:
            self.is_closed = True
            self._work.clear()
            self._news.notify_all()

    def _run(self) -> None:
        while True:
            with self._news:
                while not self.is_closed and (wait_s := self._wait_s()) > 0:
                    self._news.wait(wait_s)
                if self.is_closed:
                    return
                _, _, work, pod = heapq.heappop(self._work)
            work(pod)

    def _wait_s(self) -> float:
        """Seconds until the next work; threading.TIMEOUT_MAX where there is none."""
        return self._work[0][0] - time.monotonic() if self._work else threading.TIMEOUT_MAX
