"""Plan and timeline as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.planning.plan import Plan, describe_plan
from pytest_isolate.running.timeline import Timeline

if TYPE_CHECKING:
    from pytest_isolate.engine.api import EngineFacts
    from pytest_isolate.model.identity import Run


class Report:
    """What this run shows; `refusals` and `cleanup_error` are filled by whoever meets them."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.refusals: set[str] = set()
        self.cleanup_error = ""

    def progress(self, text: str) -> None:
        """One step of a pull or a build."""

    def plan_lines(self, plan: Plan) -> list[str]:
        """For --isolate-plan."""
        return ["isolate: plan", *(f"  {line}" for line in describe_plan(plan))]

    def start_lines(self, plan: Plan, run: Run, facts: EngineFacts, missing_images: Sequence[str]) -> list[str]:
        """What is about to start."""
        names = list(dict.fromkeys(str(step.instance.key.service) for step in plan.steps))
        count = "1 service" if len(names) == 1 else f"{len(names)} services"
        lines = [f"isolate: {count} on {facts.name} {facts.version} (run {run.run_id}): {', '.join(names)}"]
        if missing_images:
            lines.append(f"isolate: pulling or building first, this once: {', '.join(missing_images)}")
        return lines

    def write_summary(self, terminal: pytest.TerminalReporter) -> None:
        """One line for what ran; errors in full."""
        for text in sorted(self.refusals):
            terminal.write_line(f"ERROR: {text}", red=True)
        line = self._summary_line()
        if line:
            terminal.write_line(line)
        if self.cleanup_error:
            terminal.write_line(f"isolate: {self.cleanup_error}", red=True)

    def _summary_line(self) -> str:
        spans = self._timeline.spans
        seconds: dict[str, float] = {}
        for span in spans:
            if span.what in ("image", "network", "create", "ready"):
                seconds[span.subject] = seconds.get(span.subject, 0.0) + span.seconds
        if not seconds:
            return ""
        slowest = max(seconds, key=seconds.__getitem__)
        clean = sum(span.seconds for span in spans if span.what == "clean-up")
        return (
            f"isolate: {len(seconds)} services started, the slowest was {slowest} ({seconds[slowest]:.1f} s); "
            f"removed in {clean:.1f} s"
        )
