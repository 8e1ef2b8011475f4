"""Where things stand in the page's pictures: bars in percent of the time axis, curves in a box of 1000 by 100. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from pytest_isolate.running.report.assemble import Page, ServiceRun, TestRun

# A bar that is thinner than this share of the axis cannot be seen.
_THINNEST = 0.08
_TICKS = 8
# An image that is there already is found in less.
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


class Axis(Struct, frozen=True, kw_only=True):
    """The time of the run, from 0 to 100 percent."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return max(self.ended - self.began, 0.001)

    def percent(self, moment: float) -> float:
        """Where a moment stands; what is outside stands at the edge."""
        return round(min(max(100 * (moment - self.began) / self.seconds, 0.0), 100.0), 3)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Round moments, as percent and text."""
        step = round_step(self.seconds / _TICKS)
        count = int(self.seconds / step)
        digits = max(0, -math.floor(math.log10(step)))
        return [(round(100 * n * step / self.seconds, 3), f"{n * step:.{digits}f} s") for n in range(count + 1)]


class Bar(Struct, frozen=True, kw_only=True):
    """Something that took time; `target` is the part of the page that tells more."""

    x: float
    width: float
    kind: str
    title: str
    target: str = ""


class Lane(Struct, frozen=True, kw_only=True):
    """Bars that do not overlap, with what they have in common."""

    label: str
    told: str
    bars: tuple[Bar, ...]


class Group(Struct, frozen=True, kw_only=True):
    """Lanes under one heading."""

    title: str
    lanes: tuple[Lane, ...]


def round_step(least: float) -> float:
    """The next of 1, 2 and 5, times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * 0.999)


def axis_of(page: Page) -> Axis:
    """From the first thing that happened to the end of the run."""
    moments = [page.facts.began, *(t.tested.began for t in page.tests[:1])]
    return Axis(began=min(moments), ended=page.facts.ended)


def groups_of(page: Page, axis: Axis) -> list[Group]:
    """The timeline: images, services, and for each worker what its tests waited for, and the tests."""
    groups = [Group(title="Images", lanes=tuple(_image_lanes(page, axis)))]
    groups.append(Group(title="Services", lanes=tuple(_service_lanes(page, axis))))
    for worker in sorted({test.tested.worker for test in page.tests}, key=lambda w: (len(w), w)):
        title = f"Worker {worker}" if worker else "Tests"
        groups.append(Group(title=title, lanes=tuple(_test_lanes(page, axis, worker))))
    return [group for group in groups if group.lanes]


def _bar(axis: Axis, began: float, ended: float, kind: str, title: str, target: str = "") -> Bar:
    x = axis.percent(began)
    width = max(axis.percent(ended) - x, _THINNEST)
    return Bar(x=min(x, 100 - _THINNEST), width=round(width, 3), kind=kind, title=title, target=target)


def _image_lanes(page: Page, axis: Axis) -> Iterable[Lane]:
    """One for each image that was pulled or built: services that share one wait for it side by side."""
    image_of = {run.name: run.launched.image for run in page.services}
    longest: dict[str, list[tuple[float, float, str]]] = {}
    for span in page.images:
        name = image_of.get(span.subject, f"image of {span.subject}")
        longest.setdefault(name, []).append((span.began, span.ended, span.subject))
    looks = {name: max(spans, key=lambda s: s[1] - s[0]) for name, spans in sorted(longest.items())}
    bars: dict[str, Bar] = {}
    for name, (began, ended, subject) in looks.items():
        bars[name] = _bar(axis, began, ended, "image", f"{name}: {seconds(ended - began)} for {subject}")
        if ended - began >= _LONG_LOOK_S:
            yield Lane(label=name, told=f"{seconds(ended - began)} for {subject}", bars=(bars.pop(name),))
    if bars:
        most = max(looks[name][1] - looks[name][0] for name in bars)
        label = "1 image" if len(bars) == 1 else f"{len(bars)} images"
        yield Lane(label=label, told=f"there within {seconds(most)}: {', '.join(bars)}", bars=tuple(bars.values()))


def _service_lanes(page: Page, axis: Axis) -> Iterable[Lane]:
    """Runs of one service follow each other in a lane where they do not overlap."""
    for name in dict.fromkeys(run.name for run in page.services):
        own = [run for run in page.services if run.name == name]
        for packed in pack(own):
            bars = tuple(bar for run in packed for bar in _service_bars(run, axis))
            yield Lane(label=name, told=_told_of(packed), bars=bars)


def pack(runs: Iterable[ServiceRun]) -> list[list[ServiceRun]]:
    """As few rows as it takes that no two in one row overlap."""
    rows: list[list[ServiceRun]] = []
    for run in sorted(runs, key=lambda r: r.began):
        row = next((row for row in rows if row[-1].ended <= run.began), None)
        if row is None:
            rows.append(row := [])
        row.append(run)
    return rows


def _told_of(packed: Sequence[ServiceRun]) -> str:
    if len(packed) > 1:
        return f"{len(packed)} one after the other"
    run = packed[0]
    of = f", for {run.launched.lives_for}" if run.launched.lives_for != "the whole run" else ""
    if run.ready is None:
        return f"never ready{of}"
    how = "kept from an earlier run" if run.launched.found else f"ready after {seconds(run.ready - run.began)}"
    return how + of


def _service_bars(run: ServiceRun, axis: Axis) -> Iterable[Bar]:
    target = f"service-{run.number}"
    for part in run.parts:
        title = f"{run.name}: {_PART_NAMES[part.what]}, {seconds(part.ended - part.began)}"
        yield _bar(axis, part.began, part.ended, f"part-{part.what}", title, target)
    if run.ready is not None:
        title = f"{run.name}: ready for {seconds(run.ended - run.ready)}, for {run.launched.lives_for}"
        yield _bar(axis, run.ready, run.ended, "serving", title, target)
    else:
        began = max([part.ended for part in run.parts], default=run.launched.at)
        yield _bar(axis, began, run.ended, "failed", f"{run.name}: never ready", target)


def _test_lanes(page: Page, axis: Axis, worker: str) -> Iterable[Lane]:
    tests = [test for test in page.tests if test.tested.worker == worker]
    waits = [wait for wait in page.waits if wait.worker == worker]
    yield Lane(label="tests", told=count_outcomes(tests), bars=tuple(_test_bar(test, axis) for test in tests))
    if waits:
        total = seconds(sum(wait.ended - wait.began for wait in waits))
        bars = (
            _bar(axis, w.began, w.ended, "wait", f"{w.test} waited for {w.what}: {seconds(w.ended - w.began)}")
            for w in waits
        )
        yield Lane(label="waiting for services", told=f"{total} in all", bars=tuple(bars))


def _test_bar(test: TestRun, axis: Axis) -> Bar:
    tested = test.tested
    title = f"{tested.test}: {tested.outcome}, {seconds(tested.ended - tested.began)}"
    target = f"test-{test.number}" if test.is_bad else ""
    return _bar(axis, tested.began, tested.ended, tested.outcome, title, target)


def count_outcomes(tests: Sequence[TestRun]) -> str:
    """`5 tests: 3 passed, 2 failed`."""
    counts: dict[str, int] = {}
    for test in tests:
        counts[test.tested.outcome] = counts.get(test.tested.outcome, 0) + 1
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(counts.items()))
    return f"{len(tests):,} {'test' if len(tests) == 1 else 'tests'}: {told}" if tests else "no tests"


class Curve(Struct, frozen=True, kw_only=True):
    """Figures over time in a box of 1000 by 100, and the largest of them."""

    path: str
    most: float


class Usage(Struct, frozen=True, kw_only=True):
    """What all runs of a service took together. Processor figures are shares of one processor."""

    name: str
    runs: int
    memory: Curve
    processor: Curve
    processor_s: float


def usages_of(page: Page, axis: Axis) -> list[Usage]:
    """For each service that was looked at, memory and processor over time; the largest first."""
    found = []
    for name in dict.fromkeys(run.name for run in page.services):
        runs = [run for run in page.services if run.name == name and run.samples]
        if runs:
            found.append(_usage(name, runs, axis))
    return sorted(found, key=lambda usage: -usage.memory.most)


_SLOTS = 240


def _usage(name: str, runs: Sequence[ServiceRun], axis: Axis) -> Usage:
    return Usage(
        name=name,
        runs=len(runs),
        memory=curve(_sum(_memory_of(run, axis) for run in runs)),
        processor=curve(_sum(_processor_of(run, axis) for run in runs)),
        processor_s=sum(max(sample.cpu_s for sample in run.samples) for run in runs),
    )


def _sum(tables: Iterable[Mapping[int, float]]) -> list[float]:
    """Of what ran at the same time."""
    total = [0.0] * _SLOTS
    for table in tables:
        for slot, value in table.items():
            total[slot] += value
    return total


def _slots(axis: Axis, began: float, ended: float) -> range:
    first, last = (min(int(axis.percent(moment) * _SLOTS / 100), _SLOTS - 1) for moment in (began, ended))
    return range(first, last + 1)


def _memory_of(run: ServiceRun, axis: Axis) -> dict[int, float]:
    """Each figure holds from the one before it, or the start, until it was read."""
    table: dict[int, float] = {}
    began = run.launched.at
    for sample in run.samples:
        for slot in _slots(axis, began, sample.at):
            table[slot] = max(table.get(slot, 0), sample.memory_bytes)
        began = sample.at
    return table


def _processor_of(run: ServiceRun, axis: Axis) -> dict[int, float]:
    """The mean between two figures. One that is smaller than that before it belongs to a new life."""
    table: dict[int, float] = {}
    at, before = run.launched.at, 0.0
    for sample in run.samples:
        taken = sample.cpu_s - before if sample.cpu_s >= before else sample.cpu_s
        for slot in _slots(axis, at, sample.at) if sample.at > at else ():
            table[slot] = max(table.get(slot, 0), taken / (sample.at - at))
        at, before = sample.at, sample.cpu_s
    return table


def curve(values: Sequence[float]) -> Curve:
    """An area as an SVG path."""
    most = max(values, default=0.0)
    if not most:
        return Curve(path="", most=0.0)
    width = 1000 / len(values)
    points = [f"{n * width:.0f} {100 - 96 * value / most:.1f}" for n, value in enumerate(values)]
    steps = "".join(f"L{point}" for point in points)
    return Curve(path=f"M0 100{steps}L1000 {points[-1].split()[1]}L1000 100Z", most=most)


def seconds(value: float) -> str:
    """A time for people: `34 ms`, `1.2 s`, `2 min 5 s`."""
    if value < 0.9995:
        return f"{1000 * value:.0f} ms"
    if value < 119.95:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole // 60} min {whole % 60} s"


def size(value: float) -> str:
    """Bytes for people: `512 kB`, `23.4 MB`."""
    for unit, limit in (("B", 1e3), ("kB", 1e6), ("MB", 1e9)):
        if value < limit:
            number = value / (limit / 1000)
            return f"{number:.0f} {unit}" if unit in ("B", "kB") or number >= 100 else f"{number:.1f} {unit}"
    return f"{value / 1e9:.1f} GB"
