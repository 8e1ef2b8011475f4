"""The page's curves of memory and processor time, in boxes of 1000 by 100. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from msgspec import Struct

from pytest_isolate.running.report.assemble import Page, ServiceRun
from pytest_isolate.running.report.bars import Axis
from pytest_isolate.running.report.records import UsageSample

_SLOTS = 240
# The value of a figure between two samples that follow each other.
Figure = Callable[[UsageSample, UsageSample], float]


class Curve(Struct, frozen=True, kw_only=True):
    """Values over time as the path of an area, and the largest of them."""

    path: str
    most: float


class Usage(Struct, frozen=True, kw_only=True):
    """Usage of all runs of a service together. Processor values are shares of one processor."""

    name: str
    runs: int
    memory: Curve
    processor: Curve
    processor_s: float


def usages_of(page: Page, axis: Axis) -> list[Usage]:
    """Usage of each service that was measured, the one with the most memory first."""
    found = []
    for name in dict.fromkeys(run.name for run in page.services):
        runs = [run for run in page.services if run.name == name and run.samples]
        if runs:
            found.append(
                Usage(
                    name=name,
                    runs=len(runs),
                    memory=curve(_sum(runs, axis, _memory)),
                    processor=curve(_sum(runs, axis, _processor)),
                    processor_s=sum(max(sample.cpu_s for sample in run.samples) for run in runs),
                )
            )
    return sorted(found, key=lambda usage: -usage.memory.most)


def _memory(_: UsageSample, sample: UsageSample) -> float:
    return sample.memory_bytes


def _processor(before: UsageSample, sample: UsageSample) -> float:
    # A restarted container counts from zero again.
    taken_s = sample.cpu_s - before.cpu_s if sample.cpu_s >= before.cpu_s else sample.cpu_s
    return taken_s / (sample.at - before.at) if sample.at > before.at else 0.0


def _sum(runs: Sequence[ServiceRun], axis: Axis, figure: Figure) -> list[float]:
    """Values of all runs together in each slot of the axis; of a run the largest in a slot counts."""
    total = [0.0] * _SLOTS
    for run in runs:
        start = UsageSample(at=run.launched.at, container=run.launched.container, memory_bytes=0, cpu_s=0.0)
        own: dict[int, float] = {}
        for before, sample in pairwise((start, *run.samples)):
            for slot in range(_slot(axis, before.at), _slot(axis, sample.at) + 1):
                own[slot] = max(own.get(slot, 0.0), figure(before, sample))
        for slot, value in own.items():
            total[slot] += value
    return total


def _slot(axis: Axis, moment: float) -> int:
    return min(int(axis.percent(moment) * _SLOTS / 100), _SLOTS - 1)


def curve(values: Sequence[float]) -> Curve:
    """Draw an area as an SVG path."""
    most = max(values, default=0.0)
    if not most:
        return Curve(path="", most=0.0)
    width = 1000 / len(values)
    points = [f"{n * width:.0f} {100 - 96 * value / most:.1f}" for n, value in enumerate(values)]
    steps = "".join(f"L{point}" for point in points)
    return Curve(path=f"M0 100{steps}L1000 {points[-1].split()[1]}L1000 100Z", most=most)


def size(value: float) -> str:
    """Return a number of bytes as `512 kB` or `23.4 MB`."""
    for unit, limit in (("B", 1e3), ("kB", 1e6), ("MB", 1e9)):
        if value < limit:
            number = value / (limit / 1000)
            return f"{number:.0f} {unit}" if unit in ("B", "kB") or number >= 100 else f"{number:.1f} {unit}"
    return f"{value / 1e9:.1f} GB"
