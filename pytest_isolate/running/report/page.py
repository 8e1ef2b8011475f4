"""The page as HTML: one file with all that it needs. The only module that imports Jinja2."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from datetime import datetime, timezone
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pytest_isolate.running.report.assemble import Page, by_stack
from pytest_isolate.running.report.bars import axis_of, count_outcomes, groups_of, seconds, size, usages_of
from pytest_isolate.running.report.excerpts import failed_by_service, pieces_of

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
