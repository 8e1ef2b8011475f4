"""Records what a process starts, what that wrote and what it took. Nothing here may make a run fail."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from math import inf

from msgspec import Struct

from pytest_isolate.engine.api import ContainerUsage, Engine
from pytest_isolate.errors import EngineError
from pytest_isolate.model.endpoint import Endpoint, Port, split_port
from pytest_isolate.model.service import Scope
from pytest_isolate.planning.placement import Place
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.running import InstanceObserver, RunningInstance, instance_hash
from pytest_isolate.running.images.images import image_tag
from pytest_isolate.running.report.records import (
    BecameReady,
    ContainerLog,
    Journal,
    Launched,
    Reader,
    Removed,
    TimelineSpan,
    UsageSample,
)
from pytest_isolate.running.timeline import Span
from pytest_isolate.text import plain_text, redact

# Of what one container writes, so much is kept: the beginning tells how it was started, the end how it ended.
MOST_LOG_CHARACTERS = 512 * 1024
_HEAD_SHARE = 0.25
_SAMPLE_EVERY_S = 1.0
# Looking may take this share of one processor's time at most: with hundreds of containers it is done less often.
_SAMPLE_SHARE = 0.05
_PARALLEL_LOOKS = 8


class Recorder(InstanceObserver):
    """Writes down what becomes of each container that this process starts or uses. `since` is when the run began."""

    def __init__(self, engine: Engine, clock: Clock, journal: Journal, worker: str, since: float) -> None:
        self._engine = engine
        self._worker = worker
        self._clock = clock
        self._journal = journal
        self._since = since
        self._lock = threading.Lock()
        self._known: dict[str, RunningInstance] = {}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords of all containers so far."""
        with self._lock:
            return tuple({secret for running in self._known.values() for secret in running.secrets})

    def launched(self, running: RunningInstance) -> None:
        self._note(running, found=False)

    def available(self, running: RunningInstance, handle: Service) -> None:  # noqa: ARG002  # the event's signature
        """Write down that it answers; where another process has started it, it is found."""
        if running.spec.external:
            return
        self._note(running, found=True)
        self._journal.write(BecameReady(at=self._clock.time(), container=running.container_id))

    def removing(self, running: RunningInstance) -> None:
        """Read its log and usage for the last time, before this process removes it."""
        self._look_back(running)
        with self._lock:
            self._known.pop(running.container_id, None)
        self._journal.write(Removed(at=self._clock.time(), container=running.container_id))

    def close(self, spans: Iterable[Span]) -> None:
        """Look at all that this process knows for the last time, and write its timeline down."""
        with self._lock:
            known = list(self._known.values())
        with ThreadPoolExecutor(_PARALLEL_LOOKS, "isolate-look-back") as pool:
            list(pool.map(self._look_back, known))
        self._journal.write(*spent(spans, self._worker, self._clock.time() - self._clock.now()))

    def _note(self, running: RunningInstance, *, found: bool) -> None:
        with self._lock:
            is_known = running.container_id in self._known
            self._known[running.container_id] = running
        if not is_known:
            self._journal.write(describe(running, self._worker, threading.get_ident(), found=found))

    def _look_back(self, running: RunningInstance) -> None:
        try:
            taken = self._engine.read_usage(running.container_id)
            # One that is kept wrote for earlier runs, too.
            since = self._since if running.domain.is_kept else 0
            lines = ((line.when, line.text) for line in self._engine.read_log_lines(running.container_id, since))
            kept = shorten(lines, MOST_LOG_CHARACTERS)
        except EngineError:
            return  # it is gone, or the engine is; the run tells that
        now, secrets = self._clock.time(), self.secrets
        # Only what is kept is gone through: of a long log that is little.
        texts = [(when, redact(plain_text(text), secrets)) for when, text in kept.lines]
        log = ContainerLog(at=now, container=running.container_id, lines=texts, head=kept.head, cut=kept.cut)
        self._journal.write(*([_sample(now, running.container_id, taken)] if taken else []), log)


class Sampler:
    """Looks at all containers of a run once a second, in the controller. `engine` is asked for when there are any."""

    def __init__(self, engine: Callable[[], Engine], clock: Clock, journal: Journal, reader: Reader) -> None:
        self._engine = engine
        self._clock = clock
        self._journal = journal
        self._reader = reader
        self._live: dict[str, None] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="isolate-sampler", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Safe to repeat."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause_s = _SAMPLE_EVERY_S
        while not self._clock.wait(self._ended, pause_s):
            began = self._clock.now()
            self._hear()
            self._look()
            pause_s = max(_SAMPLE_EVERY_S, (self._clock.now() - began) / _SAMPLE_SHARE)

    def _hear(self) -> None:
        for record in self._reader.read_new():
            if isinstance(record, Launched):
                self._live[record.container] = None
            elif isinstance(record, Removed):
                self._live.pop(record.container, None)

    def _look(self) -> None:
        for container in list(self._live):
            if self._ended.is_set():
                return
            try:
                taken = self._engine().read_usage(container)
            except EngineError:
                self._live.pop(container)  # it is gone
                continue
            if taken:
                self._journal.write(_sample(self._clock.time(), container, taken))


def describe(running: RunningInstance, by: str, thread: int, *, found: bool) -> Launched:
    """Describe a container for the page."""
    spec, key = running.spec, running.instance.key
    return Launched(
        at=running.started_at,
        container=running.container_id,
        code=instance_hash(key),
        service=f"{key.service.name}{key.alternatives}",
        stack=key.service.stack.name,
        worker=key.place.worker,
        lives_for=describe_place(key.place),
        image=image_tag(spec),
        declared_at=str(spec.location),
        needs=[instance_hash(other) for _, other in running.instance.dependencies],
        inside=running.view.inside.address if spec.ports else spec.name,
        outside=", ".join(_address(inner, endpoint) for inner, endpoint in running.view.endpoints.items()),
        by=by,
        found=found,
        thread=thread,
    )


def _address(inner: Port, endpoint: Endpoint) -> str:
    return endpoint.address if isinstance(inner, int) else f"{endpoint.address}/{split_port(inner)[1]}"


def _sample(at: float, container: str, taken: ContainerUsage) -> UsageSample:
    return UsageSample(at=at, container=container, memory_bytes=taken.memory_bytes, cpu_s=taken.cpu_s)


def describe_place(place: Place) -> str:
    """Describe in words how long an instance lives."""
    if place.scope is Scope.SESSION:
        return f"worker {place.worker}" if place.worker else "the whole run"
    return f"{place.scope.word} {place.node}"


def spent(spans: Iterable[Span], worker: str, offset_s: float) -> list[TimelineSpan]:
    """Spans of a timeline, in seconds of the epoch."""
    return [
        TimelineSpan(
            worker=worker,
            what=span.what,
            subject=span.subject,
            began=span.began + offset_s,
            ended=span.ended + offset_s,
            failed=span.failed,
            thread=span.thread,
        )
        for span in spans
    ]


class ShortLog(Struct, frozen=True):
    """Lines of a log, as moments and texts; of a long one only the first `head` lines and those after `cut` more."""

    lines: list[tuple[float, str]]
    head: int
    cut: int


def shorten(lines: Iterable[tuple[float, str]], most: int) -> ShortLog:
    """Cut a log in the middle where it has more than `most` characters; not more than so many are ever held."""
    head, tail, cut, left = list[tuple[float, str]](), deque[tuple[float, str]](), 0, most
    head_ends_at = most - most * _HEAD_SHARE
    for line in lines:
        left -= len(line[1]) + 1
        if not tail and left >= head_ends_at:
            head.append(line)
            continue
        tail.append(line)
        while left < 0 and tail:
            left += len(tail.popleft()[1]) + 1
            cut += 1
        if not tail:
            head_ends_at = inf  # a line was left out, so all others come after it
    return ShortLog([*head, *tail], len(head) if cut else 0, cut)
