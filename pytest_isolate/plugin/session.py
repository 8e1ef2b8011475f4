"""One run with --isolate, as the steps that pytest's hooks allow: collect -> plan -> start -> each test -> close."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pytest_isolate.errors import EngineError, IsolateError
from pytest_isolate.planning.plan import Plan, build_plan, peak_demand
from pytest_isolate.planning.reset_order import check_resets
from pytest_isolate.plugin.declaring.fixtures import TOO_DEEP, asks_while_it_runs, forget_values_by
from pytest_isolate.plugin.items.early_starts import (
    EarlyStarts,
    FirstServices,
    first_services,
    recall,
    remember,
    tell_controller,
)
from pytest_isolate.plugin.items.failures import Failures
from pytest_isolate.plugin.items.keep import Retention
from pytest_isolate.plugin.items.phases import FixtureValues, ItemPhases
from pytest_isolate.plugin.items.requirements import ItemRequirements
from pytest_isolate.plugin.items.resets import Resets
from pytest_isolate.plugin.options import READY_FIRST, Settings
from pytest_isolate.plugin.run import xdist
from pytest_isolate.plugin.run.interrupts import join_interrupts
from pytest_isolate.plugin.run.opening import given_engine, run_budget
from pytest_isolate.plugin.run.process import RunProcess, Workers
from pytest_isolate.plugin.run.shutdown import Shutdown
from pytest_isolate.plugin.run.wiring import check_budget, check_reuse
from pytest_isolate.plugin.terminal.display import NotesView, display_own
from pytest_isolate.plugin.terminal.other_outputs import write_step_summary
from pytest_isolate.plugin.terminal.views import open_view
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.containers.running import instance_hash
from pytest_isolate.running.images.images import missing_images
from pytest_isolate.text import without_root


class IsolateSession:
    """A pytest plugin object for one run with --isolate: in xdist's controller, and wherever a test needs a service.

    `begin` is the run up to its first test, ItemPhases is what happens around each, Shutdown is its end.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        clock = SystemClock()
        failures = Failures(clock, settings.artifacts)
        retention = Retention(settings.keep, clock)
        process = RunProcess(config, settings, clock, retention.choose, failures.connect)
        requirements = ItemRequirements(process.worker)
        resets = Resets(failures.secure)
        self._process = process
        self._requirements = requirements
        self._values = FixtureValues(process, requirements, resets)
        self._workers = Workers(process, retention.add)
        self._shutdown = Shutdown(process, failures, retention)
        plugins = config.pluginmanager
        plugins.register(retention, "isolate-retention")
        _open_recording(process, requirements)
        phases = ItemPhases(process, requirements, self._values, resets, failures, retention)
        plugins.register(phases, "isolate-phases")
        plugins.register(self._workers, "isolate-workers")
        self._separate_interrupts = join_interrupts()

    @property
    def has_engine(self) -> bool:
        """True once this process has needed an engine."""
        return self._process.has_engine

    @property
    def plan(self) -> Plan:
        """The instances that the selected tests need; empty until they are collected."""
        return self._process.plan

    def begin_early(self, session: pytest.Session) -> None:
        """Begin to start what the last run with the same selection needed first, while pytest collects."""
        process, remembered = self._process, recall(self._process.config)
        can_share = process.settings.page is None and not process.settings.reuse
        if remembered.started and can_share and given_engine(process.config) is None:
            process.early = EarlyStarts(process)
            process.early.begin(session, remembered)

    def begin(self, session: pytest.Session) -> None:
        """Do all that comes before the first test. What is wrong ends the run before any test has run."""
        try:
            self._collect(session)
            self._make_plan(session)
            self._check_plan()
            self._show_waits()
            self._settle_early()
            self._start(session)
        except IsolateError as error:
            self._refuse(session, str(error))
        except RecursionError:
            self._refuse(session, TOO_DEEP)

    def _collect(self, session: pytest.Session) -> None:
        self._requirements.load(session)
        services = self._requirements.catalogue.services
        self._process.report.used = {str(s): str(spec.external) for s, spec in services.items() if spec.external}
        if self._process.ports:
            from pytest_isolate.plugin.declaring.environment import check_known  # only where a project has such a table

            is_reused = self._process.settings.reuse
            check_known(self._requirements.catalogue, self._process.ports, is_reused=is_reused)
        if self._requirements.differ(session.items):
            forget_values_by(session, self._values.key_of)

    def _make_plan(self, session: pytest.Session) -> None:
        process, requirements = self._process, self._requirements
        if READY_FIRST.read(process.config):
            from pytest_isolate.plugin.items.ready_first import ReadyFirst, is_wanted  # only where it is asked for

            if is_wanted(process.config):
                ReadyFirst(process, requirements).begin(session.items)
        process.plan = build_plan(map(requirements.of, session.items), requirements.catalogue)
        if process.settings.plan_only and requirements.catalogue.services:
            process.plan = replace(process.plan, asking=tuple(i.nodeid for i in session.items if asks_while_it_runs(i)))
        if process.settings.plan_only and process.worker:
            session.items.clear()
            xdist.report(process.config, plan=process.report.plan_lines(process.plan))

    def _check_plan(self) -> None:
        settings, plan, workers = self._process.settings, self._process.plan, self._process.workers
        check_budget(run_budget(settings), peak_demand(plan, workers))
        check_resets((step.instance for step in plan.steps), workers)
        check_reuse(settings, plan)

    def _show_waits(self) -> None:
        """Show from here on what this process waits for. pytest captures nothing at this moment."""
        process = self._process
        if not process.runs_no_tests:
            view = NotesView(process.member.folder, process.worker) if process.worker else open_view(process.config)
            process.display = display_own(process.timeline, view, process.worker)

    def _settle_early(self) -> None:
        """Remove what has been started for nothing, and tell the next run what to begin with."""
        process, first = self._process, first_services(self._process.plan)
        if process.runs_no_tests:
            return
        if process.worker:
            xdist.report(process.config, first_services=[list(first.started), list(first.copied)])
            tell_controller(process.plan, process.member.folder)
        else:
            remember(process.config, first)
        if process.early:
            process.early.settle({instance_hash(step.instance.key) for step in process.plan.steps})

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """In xdist's controller: a worker has planned, as all the others do."""
        if self._process.early:
            self._process.early.settle_with_workers()

    def _start(self, session: pytest.Session) -> None:
        """Open the run, and start in the background what its first tests need; a worker starts what it is given."""
        process = self._process
        is_broken = session.testsfailed and not process.config.option.continue_on_collection_errors
        if process.plan.steps and not process.runs_no_tests and not is_broken:
            wired = process.open(step.instance for step in process.plan.steps)
            wired.lifecycle.start(() if process.worker else process.plan.first_wave)

    def _refuse(self, session: pytest.Session, text: str) -> None:
        """End the run with exit code 4. A worker cannot do that, so it runs nothing and tells the controller why."""
        text = without_root(text, self._process.config.rootpath)
        if not self._process.worker:
            raise pytest.UsageError(text)
        session.items.clear()
        xdist.report(self._process.config, refused=text)

    def pytest_report_collectionfinish(self) -> list[str]:
        """Lines for what is about to start, or, with --isolate-plan, what would."""
        process = self._process
        if process.worker or xdist.is_controller(process.config):
            return []
        if process.settings.plan_only:
            return process.report.plan_lines(process.plan)
        if process.wired is None:
            return []
        engine = process.wired.engine
        try:
            missing = missing_images(engine, (step.instance.spec for step in process.plan.steps))
            return process.report.start_lines(process.plan, process.controller.run, engine.facts(), missing)
        except EngineError:
            return []  # each service tells it in full

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool | None:
        """With --isolate-plan, run nothing."""
        return True if self._process.settings.plan_only and not xdist.is_controller(self._process.config) else None

    def welcome_worker(self, node: Any) -> None:
        """In the controller: tell a worker that is about to start which run it belongs to."""
        self._workers.welcome(node)

    def handle(self, name: str, namespace: str) -> object:
        """The value of the fixture of this name that is declared there, once it is ready."""
        __tracebackhide__ = True
        return self._values.handle(name, namespace)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Remove everything. Comes behind the tear-down of all fixtures."""
        if self._workers.first_services:
            remember(self._process.config, FirstServices(*self._workers.first_services))
        self._shutdown.run(has_time=session.exitstatus != pytest.ExitCode.INTERRUPTED)
        if self._process.report.cleanup_errors and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._process.report.refusals:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what ran, how long it took to be ready, and what could not be removed."""
        self._process.report.write_summary(terminalreporter)
        page = os.environ.get("GITHUB_STEP_SUMMARY")
        if os.environ.get("GITHUB_ACTIONS") == "true" and page:
            write_step_summary(Path(page), terminalreporter)

    def pytest_unconfigure(self) -> None:
        """Remove everything also when pytest has not come to its end."""
        self._shutdown.run()
        self._separate_interrupts()


def _open_recording(process: RunProcess, requirements: ItemRequirements) -> None:
    settings = process.settings
    if settings.page is None or process.runs_no_tests:
        return
    from pytest_isolate.plugin.items.recording import Recording  # Jinja2, and all that only the page needs

    engine = None if process.worker else process.engine
    process.recording = Recording(
        settings.page, process.member.folder, process.worker, process.clock, requirements.codes_of, engine
    )
    process.config.pluginmanager.register(process.recording, "isolate-report")
