"""Contents of the page, from records: tests, the runs of services, and the links between them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.running.report.records import (
    BecameReady,
    ContainerLog,
    ContainerRecord,
    Launched,
    RanTest,
    Record,
    Removed,
    TimelineSpan,
    UsageSample,
    Waited,
    count_fitting,
)

Kind = TypeVar("Kind")
Key = TypeVar("Key")
BAD = ("failed", "error")
# Spans of a start that the timeline shows; the others take less than a hundredth of a second.
_PARTS = ("image", "dependencies", "budget", "network", "create", "ready", "snapshot")
# Limit for all logs together: a browser opens a page of this size within a second.
MOST_PAGE_CHARACTERS = 12 * 1024 * 1024


class RunFacts(Struct, frozen=True, kw_only=True):
    """Facts about the run, at the top of the page."""

    title: str
    run_id: str
    engine: str
    began: float
    ended: float
    version: str = ""


class ServiceRun(Struct, frozen=True, kw_only=True):
    """One container of a service, from its start to its end."""

    number: int
    launched: Launched
    ready: float | None
    ended: float
    needs: tuple[int, ...] = ()
    parts: tuple[TimelineSpan, ...] = ()
    samples: tuple[UsageSample, ...] = ()
    log: ContainerLog | None = None

    @property
    def name(self) -> str:
        """Name of the service, with its stack."""
        return self.launched.name

    @property
    def began(self) -> float:
        """Begin of the first part of the start."""
        return min([part.began for part in self.parts], default=self.launched.at)


class TestRun(Struct, frozen=True, kw_only=True):
    """A test with the numbers of the service runs that it could use."""

    number: int
    record: RanTest
    services: tuple[int, ...]

    @property
    def is_bad(self) -> bool:
        """True where the test or its set-up or tear-down has failed."""
        return self.record.outcome in BAD


class Page(Struct, frozen=True, kw_only=True):
    """Contents of the page."""

    facts: RunFacts
    tests: tuple[TestRun, ...]
    services: tuple[ServiceRun, ...]
    images: tuple[TimelineSpan, ...]
    waits: tuple[Waited, ...]

    @property
    def failed(self) -> tuple[TestRun, ...]:
        """Failed tests, in the order in which they ran."""
        return tuple(test for test in self.tests if test.is_bad)


def assemble(facts: RunFacts, records: Iterable[Record]) -> Page:
    """Build the page of a run from the records of all its processes."""
    everything = tuple(records)
    spans = _of(everything, TimelineSpan)
    services = _service_runs(facts, everything, spans)
    by_code = _group(services, lambda run: run.launched.code)
    tests = tuple(
        TestRun(number=number, record=test, services=_among(by_code, test.codes, test.began, test.ended))
        for number, test in enumerate(sorted(_of(everything, RanTest), key=lambda t: t.began), start=1)
    )
    return Page(
        facts=facts,
        tests=tests,
        services=fit_logs(services, tests, MOST_PAGE_CHARACTERS),
        images=tuple(s for s in spans if s.what == "image"),
        waits=tuple(sorted(_of(everything, Waited), key=lambda w: w.began)),
    )


def _of(records: Iterable[Record], kind: type[Kind]) -> list[Kind]:
    return [record for record in records if isinstance(record, kind)]


def _group(records: Iterable[Kind], key: Callable[[Kind], Key]) -> Mapping[Key, list[Kind]]:
    table: dict[Key, list[Kind]] = defaultdict(list)
    for record in records:
        table[key(record)].append(record)
    return table


def _service_runs(facts: RunFacts, records: Sequence[Record], spans: Iterable[TimelineSpan]) -> tuple[ServiceRun, ...]:
    by_container = _group((r for r in records if isinstance(r, ContainerRecord)), lambda r: r.container)
    by_thread = _group(spans, lambda s: (s.worker, s.thread, s.subject))
    # Each worker records what it uses; the one that started a container knows more than those that found it.
    launched = [min(found, key=lambda r: r.found) for own in by_container.values() if (found := _of(own, Launched))]
    runs = []
    for number, first in enumerate(sorted(launched, key=lambda r: r.at), start=1):
        own_spans = by_thread.get((first.by, first.thread, first.name), ())
        runs.append(_service_run(number, first, by_container[first.container], own_spans, facts.ended))
    by_code = _group(runs, lambda run: run.launched.code)
    return tuple(replace(run, needs=_among(by_code, run.launched.needs, run.launched.at, run.ended)) for run in runs)


def _service_run(
    number: int, launched: Launched, own: Sequence[Record], spans: Sequence[TimelineSpan], run_ended: float
) -> ServiceRun:
    logs = sorted(_of(own, ContainerLog), key=lambda r: r.at)
    ready = min((r.at for r in _of(own, BecameReady)), default=None)
    # Each process that uses a container reads its log in the end, and the container is removed after the last of them.
    last_seen = logs[-1].at if logs else run_ended
    return ServiceRun(
        number=number,
        launched=launched,
        ready=ready,
        ended=min((r.at for r in _of(own, Removed)), default=last_seen),
        parts=_parts_of(launched, ready, spans),
        samples=tuple(sorted(_of(own, UsageSample), key=lambda r: r.at)),
        log=logs[-1] if logs else None,
    )


def _parts_of(launched: Launched, ready: float | None, own: Sequence[TimelineSpan]) -> tuple[TimelineSpan, ...]:
    """Parts of a container's start: the spans of its thread since the start before it in that thread."""
    starts = [s for s in own if s.what == "start" and s.began <= launched.at <= s.ended]
    if not starts or launched.found:
        return ()
    # A thread's number is used again.
    since = max((s.ended for s in own if s.what == "start" and s.ended < starts[0].began), default=0.0)
    until = max(starts[0].ended, ready or 0)
    parts = [s for s in own if s.what in _PARTS and since <= s.began and s.ended <= until]
    return tuple(sorted(parts, key=lambda s: s.began))


def _among(
    by_code: Mapping[str, list[ServiceRun]], codes: Iterable[str], began: float, ended: float
) -> tuple[int, ...]:
    """Numbers of the service runs with these codes that existed at some moment between `began` and `ended`."""
    return tuple(
        run.number
        for code in dict.fromkeys(codes)
        for run in by_code.get(code, ())
        if run.launched.at <= ended and began <= run.ended
    )


def fit_logs(services: Sequence[ServiceRun], tests: Iterable[TestRun], most_characters: int) -> tuple[ServiceRun, ...]:
    """Cut logs until all of them fit into the page, those that no failed test has used first."""
    failed = {number for test in tests if test.is_bad for number in test.services}
    left = most_characters
    kept: dict[int, ContainerLog | None] = {}
    for has_failed in (True, False):
        group = sorted((r for r in services if (r.number in failed) is has_failed), key=lambda run: _size(run.log))
        for place, run in enumerate(group):
            # The smallest come first: the larger ones share what they leave.
            share = left // (len(group) - place)
            kept[run.number] = _cut(run.log, share) if run.log and _size(run.log) > share else run.log
            left -= _size(kept[run.number])
    return tuple(replace(run, log=kept[run.number]) for run in services)


def _size(log: ContainerLog | None) -> int:
    return sum(len(text) + 1 for _, text in log.lines) if log else 0


def _cut(log: ContainerLog, most: int) -> ContainerLog:
    """Keep the last lines of a log: they tell more than the first."""
    left_out = len(log.lines) - count_fitting(reversed(log.lines), most)
    return replace(log, lines=log.lines[left_out:], head=0, cut=log.cut + left_out)
