"""The page as HTML: one file with all that it needs. The only module that imports Jinja2."""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from pytest_isolate.running.report.assemble import Page, ServiceRun, TestRun, by_stack
from pytest_isolate.running.report.bars import axis_of, count_outcomes, groups_of, seconds, size, usages_of


class LogSegment(Struct, frozen=True, kw_only=True):
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


def pieces_of(run: ServiceRun, failed: Sequence[TestRun], began: float) -> list[LogSegment]:
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
            pieces.append(LogSegment(text=text, lines=(end or 0) - (start or 0), during=during, first_of=first_of))
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


_FOLDER = "pytest_isolate.running.report"


def render(page: Page) -> str:
    """The page. Whatever was recorded is escaped by Jinja2; only our own two files are put in as they are."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters.update(seconds=seconds, size=size, allowed=_allowed)
    axis = axis_of(page)
    failed = failed_by_service(page)
    began = page.facts.began
    return environment.from_string(_read("page.html")).render(
        page=page,
        facts=page.facts,
        axis=axis,
        outcomes=count_outcomes(page.tests),
        date=datetime.fromtimestamp(began, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
        duration=page.facts.ended - began,
        groups=groups_of(page, axis),
        stacks=by_stack(page.services),
        by_number={run.number: run for run in page.services},
        repeated={name for name, count in Counter(run.name for run in page.services).items() if count > 1},
        usages=usages_of(page, axis),
        pieces={run.number: pieces_of(run, failed.get(run.number, ()), began) for run in page.services},
        failed_by_service=failed,
        css=Markup(_read("page.css")),  # noqa: S704  # a file of this package
        js=Markup(_read("page.js")),  # noqa: S704  # a file of this package
    )


def _allowed(text: str) -> Markup:
    """A text as a source in the page's policy: the browser runs nothing else, and asks nobody for anything."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(f"'sha256-{digest}'")  # noqa: S704  # letters and digits


def _read(name: str) -> str:
    return files(_FOLDER).joinpath(name).read_text(encoding="utf-8")
