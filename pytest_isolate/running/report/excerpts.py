"""A service's log in pieces: what it wrote while failed tests ran that could use it, and the rest. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_isolate.running.report.assemble import Page, ServiceRun, TestRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Lines that follow each other. `during` are the failed tests that ran meanwhile, `first_of` those that began."""

    text: str
    lines: int
    during: tuple[TestRun, ...] = ()
    first_of: tuple[TestRun, ...] = ()


def failed_by_service(page: Page) -> Mapping[int, list[TestRun]]:
    """The failed tests of each service run that one could use, in order."""
    table: dict[int, list[TestRun]] = {}
    for test in page.failed:
        for number in test.services:
            table.setdefault(number, []).append(test)
    return table


def pieces_of(run: ServiceRun, failed: Sequence[TestRun], began: float) -> list[Piece]:
    """The log of a service run. Each failed test has a piece, also where nothing was written."""
    if run.log is None:
        return []
    moments = [moment for moment, _ in run.log.lines]
    edges = sorted({m for test in failed for m in (test.tested.began, test.tested.ended)})
    bounds = [(None, None), *((edge, bisect_left(moments, edge)) for edge in edges)]
    pieces = []
    seen: set[int] = set()
    for place, (edge, start) in enumerate(bounds):
        end = bounds[place + 1][1] if place + 1 < len(bounds) else len(moments)
        during = tuple(t for t in failed if edge is not None and t.tested.began <= edge < t.tested.ended)
        first_of = tuple(t for t in during if t.number not in seen)
        seen.update(t.number for t in during)
        text = "".join(_lines(run, start or 0, end or 0, began))
        if text or first_of:
            pieces.append(Piece(text=text, lines=(end or 0) - (start or 0), during=during, first_of=first_of))
    return pieces


def _lines(run: ServiceRun, start: int, end: int, began: float) -> Iterator[str]:
    """Lines with their moment in the run; where some are left out, that is said in their place."""
    assert run.log
    log = run.log
    for number in range(start, end):
        moment, text = log.lines[number]
        if log.cut and number == log.head:
            yield f"{'':>12} ... {log.cut:,} lines are left out here ...\n"
        yield f"{moment - began:>12.3f} {text}\n"
