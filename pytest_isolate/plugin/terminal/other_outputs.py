"""Failed tests' sections for others than the terminal: JUnit XML, and the pages of GitHub Actions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

_OWN = re.compile("isolate(: |$)")


def own_sections(report: Any) -> list[tuple[str, str]]:
    """The sections of a report that this plugin has made."""
    return [(title, text) for title, text in getattr(report, "sections", ()) if _OWN.match(title)]


def add_to_junit(config: pytest.Config, report: pytest.TestReport) -> None:
    """Put what a report tells of services into its test case in JUnit XML, if there is one.

    pytest takes over captured output only, and only with `junit_logging`.
    """
    from _pytest.junitxml import bin_xml_escape, xml_key  # it offers nothing public; see docs/decisions

    xml = config.stash.get(xml_key, None)
    sections = own_sections(report)
    if xml is None or not sections:
        return
    from xml.etree import ElementTree  # not in runs without such a report

    node = ElementTree.Element("system-out")
    node.text = bin_xml_escape("\n".join(f"{title}\n{text}\n" for title, text in sections))
    xml.node_reporter(report).append(node)


def group_sections(report: pytest.TestReport) -> None:
    """Have the log viewer of GitHub Actions fold each section."""
    report.sections = [
        (title, f"::group::{title}\n{text}\n::endgroup::" if _OWN.match(title) else text)
        for title, text in report.sections
    ]


def write_step_summary(path: Path, terminal: pytest.TerminalReporter) -> None:
    """Append a table of the failed tests and their services to the page of a job."""
    lines = summary_lines(terminal.stats)
    if not lines:
        return
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        terminal.write_line(f"isolate: the step summary could not be written: {error}", yellow=True)


def summary_lines(stats: Mapping[str, Iterable[object]]) -> list[str]:
    """The table in Markdown; empty where no failed test has used a service."""
    rows: list[str] = []
    for outcome in ("failed", "error"):
        for report in stats.get(outcome, ()):
            for facts in getattr(report, "isolate_services", ()):
                cells = (getattr(report, "nodeid", ""), facts["service"], facts["state"], str(facts["lines"]))
                rows.append(f"| {' | '.join(map(_cell, (*cells, facts.get('log', ''))))} |")
    if not rows:
        return []
    head = ["### Services of failed tests", "", "| test | service | state | log lines | stored in |"]
    return [*head, "| --- | --- | --- | --- | --- |", *rows, ""]


def _cell(text: str) -> str:
    """Escape what would end a cell of a table in Markdown."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;"), ("\n", " ")):
        text = text.replace(sign, entity)
    return text
