"""--isolate-keep: what failed tests have used is left standing, and the summary says how to get in, how to remove it.

Whichever process runs a test notes with its report what it has used. The process that the run belongs to hears all
reports, and marks at the end what stays; until then a run that is killed leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeAlias

import pytest

from pytest_isolate.engine.api import Commands, Engine, Labelled
from pytest_isolate.errors import EngineError, IsolateError
from pytest_isolate.model.identity import LABEL_HOLDS, LABEL_OWNS, LABEL_RUN, Run
from pytest_isolate.planning.placement import place_instances
from pytest_isolate.planning.plan import Demand, base_of, place_of_copy
from pytest_isolate.plugin.options import KEEP_ALWAYS, KEEP_NEVER
from pytest_isolate.plugin.run.wiring import Wired
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.evidence.shell import CONTAINER, build_entrance
from pytest_isolate.running.instances.retained import MAX_RETAINED
from pytest_isolate.running.ownership.retention import KEPT_S, write_mark

Entry: TypeAlias = dict[str, Any]
"""An instance, or a copy on one, that is to stay: in plain types, as reports bring it from workers."""


class Retention:
    """A pytest plugin object: what of a run is retained, left standing for the user to look inside."""

    def __init__(self, mode: str, clock: Clock) -> None:
        self._mode = mode
        self._clock = clock
        self._entries: dict[tuple[str, str], Entry] = {}
        self._tests: set[str] = set()
        self._left_out: set[str] = set()
        self._early: list[Entry] | None = None
        self._failed = ""
        self._lines: list[str] = []

    # -- where tests run ------------------------------------------------------------------------------------------

    def retain_early(self, demand: Callable[[], Demand], wired: Wired | None) -> None:
        """Retain what a test has used whose tear-down has failed, before that is removed. Its report comes later."""
        self._early = self._retain(demand, wired)

    def note_failure(self, report: pytest.TestReport, demand: Callable[[], Demand], wired: Wired | None) -> None:
        """Retain what a failed test has used, and have its report say so."""
        self._failed = report.nodeid
        entries = self._early if self._early is not None else self._retain(demand, wired)
        self._early = None
        if entries:
            report.isolate_retained = entries  # type: ignore[attr-defined]  # reports may carry more
        if report.nodeid in self._left_out:
            report.isolate_left_out = True  # type: ignore[attr-defined]  # as above

    def skips_resets_after(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """True if the data of a test is to stay as it is: it has failed, and no test comes after it."""
        is_end = nextitem is None or item.session.shouldfail or item.session.shouldstop
        return self._mode != KEEP_NEVER and self._failed == item.nodeid and bool(is_end)

    def unreported(self, wired: Wired) -> list[Entry]:
        """At the end, entries that no report has: of failed starts, and with `always` of all that is up."""
        ready = wired.lifecycle.ready() if self._mode == KEEP_ALWAYS else ()
        return [_entry(r, r.view, wired.engine.commands) for r in (*wired.retained.failed(), *ready)]

    def _retain(self, demand: Callable[[], Demand], wired: Wired | None) -> list[Entry]:
        if self._mode == KEEP_NEVER or wired is None:
            return []
        try:
            return self._retain_used(demand(), wired)
        except IsolateError:
            return []  # what was wrong with its declarations is the failure itself

    def _retain_used(self, used: Demand, wired: Wired) -> list[Entry]:
        assert used.catalogue is not None
        placed = place_instances(used.services, used.catalogue, used.where)
        there = {r.instance.key: r for r in (*wired.retained.failed(), *wired.lifecycle.ready())}
        instances = [there[instance.key] for instance in placed if instance.key in there]
        shared = [running for running in instances if not running.instance.key.place.node]
        own = [running for running in instances if running.instance.key.place.node]
        test, copies = used.where.test, list[Entry]()
        if own or used.fresh:
            if len(self._tests | {test}) > MAX_RETAINED:
                self._left_out.add(test)
                own = []
            else:
                self._tests.add(test)
                copies = self._retain_copies(used, wired)
        retained = [running for running in own if wired.retained.retain(running)]
        if len(retained) < len(own):
            self._left_out.add(test)
        return [*(_entry(r, r.view, wired.engine.commands, test) for r in (*shared, *retained)), *copies]

    def _retain_copies(self, used: Demand, wired: Wired) -> list[Entry]:
        assert used.catalogue is not None
        until, entries = self._clock.time() + KEPT_S, []
        there = {running.instance.key: running for running in wired.lifecycle.ready()}
        for fresh_id in used.fresh:
            spec = used.catalogue.fresh[fresh_id]
            key = base_of(spec, used.catalogue, used.where)
            if key not in there:
                continue  # of a service that runs already nothing is kept: it is not ours
            view = wired.fresh_copies.retain(fresh_id, place_of_copy(spec, fresh_id, used.where), key, until)
            if view:
                entries.append(_entry(there[key], view, wired.engine.commands, used.where.test, copy=fresh_id.name))
            else:
                self._left_out.add(used.where.test)
        return entries

    # -- where the run belongs to ---------------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a failed test has used, in whichever process."""
        self.add(getattr(report, "isolate_retained", ()))
        if getattr(report, "isolate_left_out", False):
            self._left_out.add(report.nodeid)

    def add(self, entries: Iterable[Entry]) -> None:
        """Note what is to be retained."""
        for entry in entries:
            known = self._entries.setdefault((entry["container"], entry["copy"]), entry)
            known["tests"] = list(dict.fromkeys([*known["tests"], *entry["tests"]]))

    def choose(self, engine: Engine, run: Run, warnings: list[str]) -> Collection[str]:
        """The ids of what is not to be removed of a run, or of one of its workers; of a whole run it is marked."""
        if self._mode == KEEP_NEVER or not (self._entries or self._mode == KEEP_ALWAYS):
            return ()
        try:
            found = engine.find_labelled(LABEL_RUN)
            chosen = self._choose([o for o in found if run.own_labels().items() <= o.labels.items()])
            if not run.worker:
                if chosen:
                    chosen = write_mark(engine, run, chosen, self._clock.time() + KEPT_S)
                self._lines = self._describe_all(engine, found, run)
        except EngineError as error:
            warnings.append(f"nothing could be kept: {error}")
            return ()
        return chosen

    def _choose(self, found: Sequence[Labelled]) -> frozenset[str]:
        """The objects to retain, and those that hold their memory while they are stopped."""
        # The objects of a crashed worker are removed in a thread, while others report.
        ids = {name for entry in list(self._entries.values()) for name in entry["objects"]}
        is_all = self._mode == KEEP_ALWAYS
        chosen = frozenset(
            o.object_id for o in found if is_all or o.object_id in ids or o.labels.get(LABEL_HOLDS) in ids
        )
        # What owns them takes them with it.
        return chosen | {o.object_id for o in found if chosen and LABEL_OWNS in o.labels}

    def _describe_all(self, engine: Engine, found: Sequence[Labelled], run: Run) -> list[str]:
        names = {o.object_id: o.name for o in found}
        entries = [entry for entry in self._entries.values() if entry["container"] in names]
        lines: list[str] = []
        for entry in entries:
            is_running = engine.inspect_container(entry["container"]).is_running
            lines += _describe(entry, names[entry["container"]], engine.commands, is_running=is_running)
        if any(not entry["is_reused"] for entry in entries):
            lines.append(f"isolate: kept for {KEPT_S / 3600:.0f} h; to remove it: pytest-isolate remove {run.run_id}")
        for run_id in sorted({entry["run"] for entry in entries if entry["is_reused"]}):
            lines.append("isolate: what --isolate-reuse keeps is used by later runs, and stays as long as they use it")
            lines.append(f"isolate: to remove it before: pytest-isolate remove {run_id}")
        return lines

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what was retained, how to get in, how to remove it."""
        for line in self._lines:
            terminalreporter.write_line(line)
        if self._left_out and self._mode != KEEP_NEVER:
            terminalreporter.write_line(
                f"isolate: of {len(self._left_out)} more, not all that they had for themselves was kept: of at most "
                f"{MAX_RETAINED} failed tests in each process, and what the run has room for"
            )


def _entry(running: RunningInstance, view: ServiceView, commands: Commands, test: str = "", copy: str = "") -> Entry:
    entrance, is_reused = build_entrance(view, commands), running.domain.is_kept
    return {
        "service": str(running.instance.key.service),
        "copy": copy,
        "tests": [test] if test else [],
        "container": running.container_id,
        "objects": [] if is_reused else [running.container_id, running.network_id, *running.volumes],
        "url": entrance.url,
        "commands": list(entrance.commands),
        "is_reused": is_reused,
        "run": running.domain.run.run_id,
    }


def _describe(entry: Entry, name: str, commands: Commands, *, is_running: bool) -> list[str]:
    tests = entry["tests"]
    more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
    what = f"{entry['copy']} on {entry['service']}" if entry["copy"] else entry["service"]
    url = [f'"{entry["url"]}"'] if entry["url"] and is_running else []
    ways = [*url, *(entry["commands"] if is_running else (commands.logs(name), commands.start(name)))]
    head = f"isolate: kept {what}{f' of {tests[0]}{more}' if tests else ''}:"
    return [head, *(f"  {way.replace(CONTAINER, commands.name_of(name))}" for way in ways)]
