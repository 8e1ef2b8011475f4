"""Plan and timeline as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from pytest_isolate.engine.api import EngineFacts
from pytest_isolate.model.identity import Run
from pytest_isolate.planning.plan import Plan, describe_plan
from pytest_isolate.running.timeline import Timeline, trace_starts
from pytest_isolate.text import count, name_some


class Report:
    """Facts of this run for its user, as lines. The public attributes are filled by the parts that know them."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.from_workers: list[dict[str, Any]] = []
        self.plan: list[str] = []
        self.refusals: set[str] = set()
        self.cleanup_errors: list[str] = []
        self.warnings: list[str] = []
        self.fresh: dict[str, list[float]] = {}
        self.usage: dict[str, dict[str, Any]] = {}
        self.served: dict[str, set[str]] = {}
        self.picked: dict[str, str] = {}
        self.engine = ""
        self.used: dict[str, str] = {}
        self.dropped: Sequence[str] = ()

    def plan_lines(self, plan: Plan) -> list[str]:
        """Lines for --isolate-plan."""
        return ["isolate: plan", *(f"  {line}" for line in describe_plan(plan))]

    def start_lines(self, plan: Plan, run: Run, facts: EngineFacts, missing_images: Sequence[str]) -> list[str]:
        """Lines for the services that are about to start."""
        started = [step.instance for step in plan.steps if not step.instance.spec.external]
        names = list(dict.fromkeys(instance.key.words for instance in started))
        if not names:
            return []
        number = count(len(names), "service")
        lines = [f"isolate: {number} on {describe_engine(facts)} (run {run.run_id}): {', '.join(names)}"]
        if missing_images:
            lines.append(f"isolate: pulling or building first, this once: {', '.join(missing_images)}")
        return lines

    def note_served(self, services: Iterable[str], test: str) -> None:
        """Note that a test has used these services."""
        for service in services:
            self.served.setdefault(service, set()).add(test)

    def note_picked(self, test: str, alternatives: str) -> None:
        """Note that a test has these alternatives of what it uses, and is not run for the others."""
        if alternatives:
            self.picked[test] = alternatives

    def write_summary(self, terminal: pytest.TerminalReporter) -> None:
        """One line for what ran, a table where there is something to say; errors in full."""
        verbosity = terminal.config.get_verbosity()
        for text in self.plan:
            terminal.write_line(text)
        for text in sorted(self.refusals):
            terminal.write_line(f"ERROR: {text}", red=True)
        lines = [*variant_lines(terminal.stats), *self._summary_lines(), *self._used_lines()]
        if verbosity >= 0:
            lines += [*self._fresh_lines(), *self._reset_lines(), *self._table_lines(verbosity)]
        for text in lines:
            terminal.write_line(text)
        for text in self.cleanup_errors:
            terminal.write_line(f"isolate: {text}", red=True)
        everywhere = self._everywhere()
        notes = dict.fromkeys(note for figures in everywhere for note in figures["notes"])
        for text in (*picked_lines(everywhere), *dropped_lines(everywhere), *notes, *self.warnings):
            terminal.write_line(f"isolate: {text}", yellow=True)

    def figures(self) -> dict[str, Any]:
        """The facts of this process for the summary, in plain types."""
        spans = self._timeline.spans
        return {
            "starts": [[path.seconds, path.subject, dict(path.parts)] for path in trace_starts(spans)],
            "fresh": self.fresh,
            "usage": self.usage,
            "served": {service: len(tests) for service, tests in self.served.items()},
            "picked": self.picked,
            "engine": self.engine,
            "used": {s.subject: self.used[s.subject] for s in spans if s.what == "used" and not s.failed},
            "dropped": list(self.dropped),
            "notes": list(self._timeline.notes),
            "resets": [[s.subject, s.seconds] for s in spans if s.what == "reset"],
            "reused": sum(span.what == "reused" for span in spans),
            "beside": [span.subject for span in spans if span.what == "beside kept"],
            "waited": sum(s.seconds for s in spans if s.what == "budget" and s.seconds >= _WORTH_TELLING_S),
        }

    def _everywhere(self) -> list[dict[str, Any]]:
        return [self.figures(), *self.from_workers]

    def _table_lines(self, verbosity: int) -> list[str]:
        """A table of the services, where something stands out or more is asked for."""
        everywhere = self._everywhere()
        if verbosity <= 0 and not any(map(_may_stand_out, everywhere)):
            return []
        from pytest_isolate.plugin.terminal import summary  # short runs have no table

        rows = summary.build_rows(everywhere)
        hint = summary.find_hint(rows)
        if not rows or not (hint or verbosity > 0):
            return []
        where = next((figures["engine"] for figures in everywhere if figures["engine"]), "")
        lines = summary.table_lines(rows, f"isolate: services on {where}, the slowest first", verbosity)
        return [*lines, f"isolate: {hint}"] if hint else lines

    def _used_lines(self) -> list[str]:
        """Lines for external services, which the run did not start itself."""
        used = {name: where for figures in self._everywhere() for name, where in figures["used"].items()}
        return [f"isolate: used {name} at {where}, which ran already" for name, where in sorted(used.items())]

    def _fresh_lines(self) -> list[str]:
        total: dict[str, list[float]] = {}
        for figures in self._everywhere():
            for name, numbers in figures["fresh"].items():
                total[name] = [sum(pair) for pair in zip(total.get(name, [0.0] * 4), numbers, strict=True)]
        return [
            f"isolate: fresh copies of {name}: {taken:.0f} handed out, {hits:.0f} at once, made in "
            f"{1000 * seconds / max(made, 1):.0f} ms each"
            for name, (taken, hits, seconds, made) in sorted(total.items())
        ]

    def _reset_lines(self) -> list[str]:
        took: dict[str, list[float]] = {}
        for figures in self._everywhere():
            for name, seconds in figures["resets"]:
                took.setdefault(name, []).append(seconds)
        return [
            f"isolate: {name} was reset {count(len(s), 'time')}, in {1000 * sum(s) / len(s):.0f} ms each"
            for name, s in sorted(took.items())
        ]

    def _summary_lines(self) -> list[str]:
        everywhere = self._everywhere()
        starts = [start for figures in everywhere for start in figures["starts"]]
        reused = sum(figures["reused"] for figures in everywhere)
        beside = sorted(name for figures in everywhere for name in figures["beside"])
        waited = sum(figures["waited"] for figures in everywhere)
        if not starts and not reused:
            return []
        parts = [count(len(starts), "service started", "services started")]
        if starts:
            seconds, name, took = max(starts, key=lambda start: start[0])
            steps = [f"{_PARTS[part]} {s:.1f} s" for part, s in took.items() if part in _PARTS and s >= _SHOWN_S]
            parts.append(f"the slowest was {name} ({seconds:.1f} s{': ' if steps else ''}{', '.join(steps)})")
        if reused:
            parts.append(count(reused, "reused from an earlier run", "reused from earlier runs"))
        if beside:
            names = ", ".join(beside)
            parts.append(f"for this run alone {names}, of which another run uses another version that is kept")
        if waited:
            parts.append(f"starts waited {waited:.1f} s for room (--isolate-max-memory, --isolate-max-containers)")
        clean = sum(span.seconds for span in self._timeline.spans if span.what == "clean-up")
        return [f"isolate: {', '.join(parts)}; cleaned up in {clean:.1f} s"]


_WORTH_TELLING_S = 0.5
_SHOWN_S = 0.05
# No hint of terminal.summary comes below these.
_SLOW_START_S = 2.0
_MUCH = 0.9
_PARTS = {
    "image": "image",
    "dependencies": "what it needs",
    "budget": "room",
    "network": "network",
    "create": "container",
    "ready": "until it answered",
    "snapshot": "snapshot",
}
_OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def note_variant(report: pytest.TestReport, variant: object) -> pytest.TestReport:
    """The report of a test, with what it was run for; xdist brings that to the controller."""
    if variant is not None:
        report.isolate_variant = str(variant)  # type: ignore[attr-defined]  # reports may carry more
    return report


def variant_lines(stats: Mapping[str, Sequence[object]]) -> list[str]:
    """For each variant how its tests ended, sorted by name."""
    counts: dict[str, dict[str, int]] = {}
    for outcome in _OUTCOMES:
        for report in stats.get(outcome, ()):
            variant = getattr(report, "isolate_variant", None)
            if variant is not None:
                ended = counts.setdefault(variant, {})
                ended[outcome] = ended.get(outcome, 0) + 1
    return [
        f"isolate: variant {variant}: {', '.join(f'{number} {outcome}' for outcome, number in ended.items())}"
        for variant, ended in sorted(counts.items())
    ]


def picked_lines(everywhere: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for the tests that ran with the first alternative only of a service with variants."""
    tests: dict[str, list[str]] = {}
    for test, alternatives in sorted({pair for figures in everywhere for pair in figures["picked"].items()}):
        tests.setdefault(alternatives, []).append(test)
    return [
        f"only with {alternatives} ran {name_some(names)}: pytest cannot run methods of unittest.TestCase, doctests "
        "and what calls request.getfixturevalue() once for each alternative; --isolate-variant chooses another one"
        for alternatives, names in tests.items()
    ]


def dropped_lines(everywhere: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for the limits that the engine took and did not hold, in any process."""
    found = [figures for figures in everywhere if figures["dropped"]]
    if not found:
        return []
    limits = ", ".join(sorted({limit for figures in found for limit in figures["dropped"]}))
    engine = found[0]["engine"]
    reason = (
        "" if engine.startswith("Kubernetes") else " (rootless engines need version 2 of the kernel's control groups)"
    )
    return [f"these limits do not hold: {limits}; {engine} takes them and makes containers without{reason}"]


def describe_engine(facts: EngineFacts) -> str:
    """Describe the engine, and where it is, if that is elsewhere."""
    return f"{facts.name} {facts.version}" + ("" if facts.is_local else f" at {facts.host or facts.address}")


def _may_stand_out(figures: Mapping[str, Any]) -> bool:
    """True where there may be a hint: it takes a slow start, or much memory."""
    used = figures["usage"].values()
    is_slow = any(seconds >= _SLOW_START_S for seconds, _, _ in figures["starts"])
    return is_slow or any((u["needed"] or 0) >= _MUCH * (u["limit"] or float("inf")) for u in used)
