"""One process's part in a run: controller, worker or both; with the engine, opened when a service first needs it.

In xdist's controller also what it tells its workers, and hears from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pytest_isolate.engine.api import Engine
from pytest_isolate.planning.placement import Instance
from pytest_isolate.planning.plan import Plan
from pytest_isolate.plugin.options import KEEP_NEVER, Settings, runs_no_tests
from pytest_isolate.plugin.run import xdist
from pytest_isolate.plugin.run.controller import Controller, FindRetained
from pytest_isolate.plugin.run.early import KNOWN_KEY, new_run
from pytest_isolate.plugin.run.opening import RunMembership, open_run, open_without_engine
from pytest_isolate.plugin.run.wiring import Wired, wire
from pytest_isolate.plugin.terminal.display import Display, display_noted
from pytest_isolate.plugin.terminal.report import Report, describe_engine
from pytest_isolate.plugin.terminal.views import open_view
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.network.addresses import PreassignedPorts
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.owners import whose

if TYPE_CHECKING:
    from pytest_isolate.plugin.items.early_starts import EarlyStarts
    from pytest_isolate.plugin.items.recording import Recording


class RunProcess:
    """State that the parts of this plugin share in one process. Without xdist it is controller and worker.

    `on_open` is called with what is wired, the run's folder and the worker's name, whenever an engine was opened.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        clock: Clock,
        find_retained: FindRetained,
        on_open: Callable[[Wired, Path, str], None],
    ) -> None:
        self.config = config
        self.settings = settings
        self.clock = clock
        self.timeline = Timeline(clock)
        self.report = Report(self.timeline)
        self.display = Display(tuple, None)
        self.plan = Plan()
        """The instances that the selected tests need; empty until they are collected."""
        self.recording: Recording | None = None
        self.early: EarlyStarts | None = None
        self.wired: Wired | None = None
        self.has_engine = False
        """True once this process has needed an engine."""
        self._on_open = on_open
        self._member = xdist.receive(config)
        self.worker = self._member.run.worker if self._member else ""
        """The name that xdist has given it; empty where it is no worker."""
        self.workers = self._member.workers if self._member else 1
        self._controller: Controller | None = None
        if self._member is None:
            known = config.stash.get(KNOWN_KEY, None)
            run = replace(known.run if known else new_run(), extra_labels=whose(settings.project))
            self._controller = Controller(config, settings, run, clock, find_retained)

    @property
    def controller(self) -> Controller:
        """The owner's part of the run; there is none in a worker."""
        assert self._controller is not None
        return self._controller

    @property
    def member(self) -> RunMembership:
        """Membership of the run, the same in all its processes."""
        return self._member or self.controller.member()

    @property
    def ports(self) -> PreassignedPorts:
        """The ports that environment variables name already."""
        known = self.config.stash.get(KNOWN_KEY, None)
        return self._member.ports if self._member else known.ports if known else {}

    @property
    def runs_no_tests(self) -> bool:
        """True if no test will run, so that nothing may be started."""
        return runs_no_tests(self.config, self.settings)

    def engine(self) -> Engine:
        """The controller's engine, connected where no service has needed it so far."""
        return self.wired.engine if self.wired else self.controller.connect()

    def open(self, needed: Iterable[Instance] = ()) -> Wired:
        """The wired objects of this process; on the first call the engine is connected and the guardian armed.

        Where all that is needed runs already, there is no engine until something else is needed.
        """
        # The report page shows the engine, and what is reused or retained is on it.
        is_asked_for = self.settings.page or self.settings.reuse or self.settings.keep != KEEP_NEVER
        # Copies on a server that runs already are made by clients that run in a container.
        on_engine = (i for i in needed if not i.spec.external or i.key in self.plan.copies)
        needs_engine = bool(is_asked_for) or any(on_engine)
        if self.wired and needs_engine and not self.has_engine:
            self.close(0)
        if self.wired is None:
            self.wired = self._wire(needs_engine=needs_engine)
            self._on_open(self.wired, self.member.folder, self.worker)
        return self.wired

    def close(self, snapshots_s: float) -> None:
        """Close what is open; waits so long for snapshots that are being saved. Safe to repeat."""
        if self.wired:
            self.wired.close(snapshots_s)
            self.wired = None

    def close_early(self) -> None:
        """Close what has started services before the tests were known. Safe to repeat."""
        if self.early:
            self.early.close()

    def _wire(self, *, needs_engine: bool) -> Wired:
        member, report = self.member, self.report
        if needs_engine:
            opened = open_run(self.config, member, self.settings, self.clock, report)
        else:
            opened = open_without_engine()
        self.has_engine = needs_engine
        report.engine = f"{describe_engine(opened.engine.facts())} (run {member.run.run_id})"
        recorder = self.recording.record(opened.engine) if self.recording else None
        return wire(opened, member, self.settings, self.plan, self.clock, self.timeline, recorder=recorder)


class Workers:
    """A pytest plugin object of xdist's controller; `retain` takes what workers want to be left for the user."""

    def __init__(self, process: RunProcess, retain: Callable[[Iterable[Any]], None]) -> None:
        self._process = process
        self._retain = retain
        self.first_services: tuple[list[str], list[str]] | None = None
        """Codes of the instances that they begin with, and of those that are copied; None where none has planned."""

    def welcome(self, node: Any) -> None:
        """Tell a worker that is about to start which run it belongs to; show what it waits for."""
        process, member = self._process, self._process.member
        xdist.send(node, member)
        plugins = process.config.pluginmanager
        if not plugins.has_plugin("isolate-display"):
            process.display = display_noted(member.folder, open_view(process.config))
            plugins.register(process.display, "isolate-display")
            process.display.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take over what a worker reports that has ended; clean up for one that has crashed."""
        facts, report, controller = xdist.read_report(node), self._process.report, self._process.controller
        report.plan = facts.get("plan", report.plan)
        if "refused" in facts:
            report.refusals.add(facts["refused"])
        if "cleanup_error" in facts:
            report.cleanup_errors.append(facts["cleanup_error"])
        self.first_services = facts.get("first_services", self.first_services)
        if "figures" in facts:
            report.from_workers.append(facts["figures"])
        controller.kept_codes.update(facts.get("kept", ()))
        self._retain(facts.get("retained", ()))
        if error:
            controller.clean_up_worker(replace(controller.run, worker=node.gateway.id))
