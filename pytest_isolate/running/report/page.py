"""The page as HTML, one file with all that it needs. No other module imports Jinja2."""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from importlib.resources import files
from itertools import pairwise
from math import inf

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from pytest_isolate.running.report.assemble import Page, ServiceRun, TestRun
from pytest_isolate.running.report.bars import axis_of, count_outcomes, groups_of, seconds
from pytest_isolate.running.report.curves import size, usages_of
from pytest_isolate.running.report.records import ContainerLog


class LogSegment(Struct, frozen=True, kw_only=True):
    """Consecutive lines of a log, the failed tests that ran meanwhile, and those of them that began with it."""

    text: str
    lines: int
    during: tuple[TestRun, ...] = ()
    first_of: tuple[TestRun, ...] = ()


def split_log(run: ServiceRun, failed: Sequence[TestRun], began: float) -> list[LogSegment]:
    """Split the log of a service run at failed tests. Each has a segment, also where nothing was written."""
    if run.log is None:
        return []
    moments = [moment for moment, _ in run.log.lines]
    edges = sorted({moment for test in failed for moment in (test.record.began, test.record.ended)})
    bounds = [(-inf, 0), *((edge, bisect_left(moments, edge)) for edge in edges), (inf, len(moments))]
    segments = []
    for (edge, start), (_, end) in pairwise(bounds):
        during = tuple(test for test in failed if test.record.began <= edge < test.record.ended)
        first_of = tuple(test for test in during if test.record.began == edge)
        text = "".join(_lines(run.log, start, end, began))
        if text or first_of:
            segments.append(LogSegment(text=text, lines=end - start, during=during, first_of=first_of))
    return segments


def _lines(log: ContainerLog, start: int, end: int, began: float) -> Iterator[str]:
    """Lines with their moment in the run, and a note in the place of lines that are left out."""
    for number in range(start, end):
        moment, text = log.lines[number]
        if log.cut and number == log.head:
            yield f"{'':>12} ... {log.cut:,} lines are left out here ...\n"
        yield f"{moment - began:>12.3f} {text}\n"


_FOLDER = "pytest_isolate.running.report"


def render(page: Page) -> str:
    """Render the page. Jinja2 escapes everything recorded; only our own style and script are put in as they are."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters.update(seconds=seconds, size=size, allowed=_allowed)
    axis, began = axis_of(page), page.facts.began
    failed = {run.number: [test for test in page.failed if run.number in test.services] for run in page.services}
    return environment.from_string(_read("page.html")).render(
        page=page,
        facts=page.facts,
        axis=axis,
        outcomes=count_outcomes(page.tests),
        date=datetime.fromtimestamp(began, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
        duration=page.facts.ended - began,
        groups=groups_of(page, axis),
        stacks=_by_stack(page.services),
        by_number={run.number: run for run in page.services},
        repeated={name for name, count in Counter(run.name for run in page.services).items() if count > 1},
        usages=usages_of(page, axis),
        segments={run.number: split_log(run, failed[run.number], began) for run in page.services},
        failed_by_service=failed,
        css=Markup(_read("page.css")),  # noqa: S704  # a file of this package
        js=Markup(_read("page.js")),  # noqa: S704  # a file of this package
    )


def _by_stack(services: Sequence[ServiceRun]) -> dict[str, dict[str, list[ServiceRun]]]:
    """Service runs by stack and service; the services of no stack come first."""
    table: dict[str, dict[str, list[ServiceRun]]] = {}
    for run in sorted(services, key=lambda run: run.launched.stack):
        table.setdefault(run.launched.stack, {}).setdefault(run.launched.service, []).append(run)
    return table


def _allowed(text: str) -> Markup:
    """Hash of a text for the page's content security policy: the browser runs nothing else and loads nothing."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(f"'sha256-{digest}'")  # noqa: S704  # letters and digits


def _read(name: str) -> str:
    return files(_FOLDER).joinpath(name).read_text(encoding="utf-8")
