"""The page's timeline: lanes of bars, in percent of the time axis. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from pytest_isolate.running.report.assemble import Page, ServiceRun, TestRun
from pytest_isolate.running.report.records import TimelineSpan
from pytest_isolate.text import count

# A bar that is thinner than this share of the axis cannot be seen.
_THINNEST = 0.08
_TICKS = 8
# Finding an image that the engine has takes less.
_LONG_LOOK_S = 0.5
_PART_NAMES = {
    "image": "looking for its image",
    "dependencies": "waiting for what it needs",
    "budget": "waiting for room",
    "network": "network",
    "create": "container",
    "ready": "until it answered",
    "snapshot": "saving a snapshot",
}


class Bar(Struct, frozen=True, kw_only=True):
    """A span of time on the axis; `target` is the id of the part of the page that tells more."""

    x: float
    width: float
    kind: str
    title: str
    target: str = ""


class Axis(Struct, frozen=True, kw_only=True):
    """Time axis of the run, from 0 to 100 percent."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """Length of the axis."""
        return max(self.ended - self.began, 0.001)

    def percent(self, moment: float) -> float:
        """Position of a moment; what is outside stands at the edge."""
        return round(min(max(100 * (moment - self.began) / self.seconds, 0.0), 100.0), 3)

    def bar(self, began: float, ended: float, kind: str, title: str, target: str = "") -> Bar:
        """Build a bar that is wide enough to be seen."""
        x = self.percent(began)
        width = max(self.percent(ended) - x, _THINNEST)
        return Bar(x=min(x, 100 - _THINNEST), width=round(width, 3), kind=kind, title=title, target=target)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Round moments, as percent and text."""
        step = round_step(self.seconds / _TICKS)
        digits = max(0, -math.floor(math.log10(step)))
        steps = range(int(self.seconds / step) + 1)
        return [(round(100 * n * step / self.seconds, 3), f"{n * step:.{digits}f} s") for n in steps]


class Lane(Struct, frozen=True, kw_only=True):
    """A row of bars, with a label and a note on them."""

    label: str
    note: str
    bars: tuple[Bar, ...]


class Group(Struct, frozen=True, kw_only=True):
    """Lanes under one heading."""

    title: str
    lanes: tuple[Lane, ...]


def round_step(least: float) -> float:
    """Return the next of 1, 2 and 5, times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * 0.999)


def axis_of(page: Page) -> Axis:
    """Axis from the first thing that happened to the end of the run."""
    moments = [page.facts.began, *(t.record.began for t in page.tests[:1])]
    return Axis(began=min(moments), ended=page.facts.ended)


def groups_of(page: Page, axis: Axis) -> list[Group]:
    """Build the timeline: images, services, and for each worker its tests and what they waited for."""
    groups = [
        Group(title="Images", lanes=tuple(_image_lanes(page, axis))),
        Group(title="Services", lanes=tuple(_service_lanes(page, axis))),
    ]
    for worker in sorted({test.record.worker for test in page.tests}, key=lambda w: (len(w), w)):
        title = f"Worker {worker}" if worker else "Tests"
        groups.append(Group(title=title, lanes=tuple(_test_lanes(page, axis, worker))))
    return [group for group in groups if group.lanes]


def _image_lanes(page: Page, axis: Axis) -> Iterator[Lane]:
    """A lane for each image that was pulled or built, and one for all others."""
    image_of = {run.name: run.launched.image for run in page.services}
    longest: dict[str, TimelineSpan] = {}
    # Services that share an image wait for it side by side: the longest wait is that of its pull or build.
    for span in sorted(page.images, key=lambda span: -span.seconds):
        longest.setdefault(image_of.get(span.subject, f"image of {span.subject}"), span)
    quick: dict[str, Bar] = {}
    for name, span in sorted(longest.items()):
        note = f"{seconds(span.seconds)} for {span.subject}"
        bar = axis.bar(span.began, span.ended, "image", f"{name}: {note}")
        if span.seconds >= _LONG_LOOK_S:
            yield Lane(label=name, note=note, bars=(bar,))
        else:
            quick[name] = bar
    if quick:
        note = f"there within {seconds(max(longest[name].seconds for name in quick))}: {', '.join(quick)}"
        yield Lane(label=count(len(quick), "image"), note=note, bars=tuple(quick.values()))


def _service_lanes(page: Page, axis: Axis) -> Iterator[Lane]:
    """Lanes of each service: its runs follow each other in a lane where they do not overlap."""
    for name in dict.fromkeys(run.name for run in page.services):
        for runs in pack(run for run in page.services if run.name == name):
            bars = tuple(bar for run in runs for bar in _service_bars(run, axis))
            yield Lane(label=name, note=_describe_runs(runs), bars=bars)


def pack(runs: Iterable[ServiceRun]) -> list[list[ServiceRun]]:
    """Arrange runs in as few rows as it takes that no two in one row overlap."""
    rows: list[list[ServiceRun]] = []
    for run in sorted(runs, key=lambda r: r.began):
        row = next((row for row in rows if row[-1].ended <= run.began), None)
        if row is None:
            rows.append(row := [])
        row.append(run)
    return rows


def _describe_runs(runs: Sequence[ServiceRun]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} one after the other"
    run = runs[0]
    place = f", for {run.launched.lives_for}" if run.launched.lives_for != "the whole run" else ""
    if run.ready is None:
        return f"never ready{place}"
    start = "kept from an earlier run" if run.launched.found else f"ready after {seconds(run.ready - run.began)}"
    return start + place


def _service_bars(run: ServiceRun, axis: Axis) -> Iterator[Bar]:
    target = f"service-{run.number}"
    for part in run.parts:
        title = f"{run.name}: {_PART_NAMES[part.what]}, {seconds(part.seconds)}"
        yield axis.bar(part.began, part.ended, f"part-{part.what}", title, target)
    if run.ready is not None:
        title = f"{run.name}: ready for {seconds(run.ended - run.ready)}, for {run.launched.lives_for}"
        yield axis.bar(run.ready, run.ended, "serving", title, target)
    else:
        began = max([part.ended for part in run.parts], default=run.launched.at)
        yield axis.bar(began, run.ended, "failed", f"{run.name}: never ready", target)


def _test_lanes(page: Page, axis: Axis, worker: str) -> Iterator[Lane]:
    tests = [test for test in page.tests if test.record.worker == worker]
    yield Lane(label="tests", note=count_outcomes(tests), bars=tuple(_test_bar(test, axis) for test in tests))
    waits = [wait for wait in page.waits if wait.worker == worker]
    if waits:
        titles = (f"{wait.test} waited for {wait.what}: {seconds(wait.seconds)}" for wait in waits)
        bars = tuple(axis.bar(w.began, w.ended, "wait", title) for w, title in zip(waits, titles, strict=True))
        note = f"{seconds(sum(wait.seconds for wait in waits))} in all"
        yield Lane(label="waiting for services", note=note, bars=bars)


def _test_bar(test: TestRun, axis: Axis) -> Bar:
    record = test.record
    title = f"{record.test}: {record.outcome}, {seconds(record.seconds)}"
    return axis.bar(record.began, record.ended, record.outcome, title, f"test-{test.number}" if test.is_bad else "")


def count_outcomes(tests: Sequence[TestRun]) -> str:
    """Return `5 tests: 3 passed, 2 failed`."""
    counts = Counter(test.record.outcome for test in tests)
    outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(counts.items()))
    return f"{len(tests):,} {'test' if len(tests) == 1 else 'tests'}: {outcomes}" if tests else "no tests"


def seconds(value: float) -> str:
    """Return a time as `34 ms`, `1.2 s` or `2 min 5 s`."""
    if value < 0.9995:
        return f"{1000 * value:.0f} ms"
    if value < 119.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"
