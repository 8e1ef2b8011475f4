"""From records to what the page shows: tests, the runs of services, and what belongs together. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.running.report.records import (
    BecameReady,
    Launched,
    RanTest,
    Record,
    Removed,
    Spent,
    Took,
    Waited,
    Wrote,
)

Kind = TypeVar("Kind")
Key = TypeVar("Key")
BAD = ("failed", "error")
# Parts of a start, told on the timeline; what is shorter than a hundredth of a second cannot be seen.
_PARTS = ("image", "dependencies", "budget", "network", "create", "ready", "snapshot")
# What all logs together may take: a browser opens such a page within a second.
MOST_PAGE_CHARACTERS = 12 * 1024 * 1024


class RunFacts(Struct, frozen=True, kw_only=True):
    """What is said at the top of the page."""

    title: str
    run_id: str
    engine: str
    began: float
    ended: float
    version: str = ""


class ServiceRun(Struct, frozen=True, kw_only=True):
    """One container of a service, from its start to its end."""

    number: int
    name: str
    launched: Launched
    ready: float | None
    ended: float
    needs: tuple[int, ...] = ()
    parts: tuple[Spent, ...] = ()
    samples: tuple[Took, ...] = ()
    log: Wrote | None = None

    @property
    def began(self) -> float:
        """When the first part of its start began."""
        return min([part.began for part in self.parts], default=self.launched.at)


class TestRun(Struct, frozen=True, kw_only=True):
    """A test with the service runs that it could use, by number."""

    number: int
    tested: RanTest
    services: tuple[int, ...]

    @property
    def is_bad(self) -> bool:
        """Whether it has failed, in whatever part."""
        return self.tested.outcome in BAD


class Page(Struct, frozen=True, kw_only=True):
    """All that the page shows."""

    facts: RunFacts
    tests: tuple[TestRun, ...]
    services: tuple[ServiceRun, ...]
    images: tuple[Spent, ...]
    waits: tuple[Waited, ...]

    @property
    def failed(self) -> tuple[TestRun, ...]:
        """The tests that have failed, in the order in which they ran."""
        return tuple(test for test in self.tests if test.is_bad)


def assemble(facts: RunFacts, records: Iterable[Record]) -> Page:
    """The page of a run, from what all of its processes have recorded."""
    everything = tuple(records)
    spans = _of(everything, Spent)
    tested = sorted(_of(everything, RanTest), key=lambda t: t.began)
    services = _service_runs(facts, everything, spans)
    by_code = _group(services, lambda run: run.launched.code)
    tests = tuple(
        TestRun(number=number, tested=t, services=_among(by_code, t.codes, t.began, t.ended))
        for number, t in enumerate(tested, start=1)
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


def _service_runs(facts: RunFacts, records: Sequence[Record], spans: Iterable[Spent]) -> tuple[ServiceRun, ...]:
    launched = _group(_of(records, Launched), lambda r: r.container)
    ready = _group(_of(records, BecameReady), lambda r: r.container)
    removed = _group(_of(records, Removed), lambda r: r.container)
    taken = _group(_of(records, Took), lambda r: r.container)
    wrote = _group(_of(records, Wrote), lambda r: r.container)
    by_thread = _group(spans, lambda s: (s.worker, s.thread, s.subject))
    # Each worker tells of what it uses; whoever has started it knows more than those who have found it.
    firsts = sorted((min(found, key=lambda r: r.found) for found in launched.values()), key=lambda r: r.at)
    runs = []
    for number, first in enumerate(firsts, start=1):
        container, name = first.container, _name_of(first)
        # What is there at the end of the run is looked at by each process that uses it, and goes with the last of them.
        last_seen = max((r.at for r in wrote.get(container, ())), default=facts.ended)
        answered = min((r.at for r in ready.get(container, ())), default=None)
        runs.append(
            ServiceRun(
                number=number,
                name=name,
                launched=first,
                ready=answered,
                ended=min((r.at for r in removed.get(container, ())), default=last_seen),
                parts=_parts_of(first, answered, by_thread.get((first.by, first.thread, name), ())),
                samples=tuple(sorted(taken.get(container, ()), key=lambda r: r.at)),
                log=max(wrote.get(container, ()), key=lambda r: r.at, default=None),
            )
        )
    by_code = _group(runs, lambda run: run.launched.code)
    return tuple(replace(run, needs=_among(by_code, run.launched.needs, run.launched.at, run.ended)) for run in runs)


def _name_of(launched: Launched) -> str:
    return f"{launched.stack}.{launched.service}" if launched.stack else launched.service


def _parts_of(launched: Launched, ready: float | None, own: Iterable[Spent]) -> tuple[Spent, ...]:
    """What the start of a container consisted of: spans of its thread, behind the start before it in that thread."""
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
    """The numbers of the service runs with these codes that were there at some moment of a time."""
    return tuple(
        run.number
        for code in dict.fromkeys(codes)
        for run in by_code.get(code, ())
        if run.launched.at <= ended and began <= run.ended
    )


def fit_logs(services: Sequence[ServiceRun], tests: Iterable[TestRun], most_characters: int) -> tuple[ServiceRun, ...]:
    """The same with less of the logs, where they are too much for a page: first those that no failed test has used."""
    failed = {number for test in tests if test.is_bad for number in test.services}
    room = most_characters
    kept: dict[int, Wrote | None] = {}
    for is_wanted in (True, False):
        group = sorted((run for run in services if (run.number in failed) is is_wanted), key=lambda run: _size(run.log))
        for place, run in enumerate(group):
            # The smallest come first: what they leave is for the larger ones.
            share = room // (len(group) - place)
            kept[run.number] = _cut(run.log, share) if run.log and _size(run.log) > share else run.log
            room -= _size(kept[run.number])
    return tuple(replace(run, log=kept[run.number]) for run in services)


def _size(log: Wrote | None) -> int:
    return sum(len(text) + 1 for _, text in log.lines) if log else 0


def _cut(log: Wrote, most: int) -> Wrote:
    """The last lines of a log: they tell more than the first."""
    size, left_out = _size(log), 0
    for _, text in log.lines:
        if size <= most:
            break
        size -= len(text) + 1
        left_out += 1
    return replace(log, lines=log.lines[left_out:], head=0, cut=log.cut + left_out)


def by_stack(services: Iterable[ServiceRun]) -> Mapping[str, Mapping[str, list[ServiceRun]]]:
    """Service runs by stack, and within it by service; the services of no stack come first."""
    table: dict[str, dict[str, list[ServiceRun]]] = {}
    for run in sorted(services, key=lambda run: (run.launched.stack, run.number)):
        table.setdefault(run.launched.stack, {}).setdefault(run.launched.service, []).append(run)
    return table
