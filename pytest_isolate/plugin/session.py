"""One run with --isolate, from declared to cleaned up, as the steps that pytest's hooks allow."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pytest_isolate.errors import EngineError, IsolateError
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.placement import Instance
from pytest_isolate.planning.plan import CopyDemand, Plan, build_plan, peak_demand, place_of_copy
from pytest_isolate.planning.reset_order import check_resets
from pytest_isolate.plugin.declaring.fixtures import (
    forget_values_by,
    position,
    used_fixtures,
    variant_of,
)
from pytest_isolate.plugin.items.catalogues import members
from pytest_isolate.plugin.items.failures import Failures, as_failure, note_failed_start
from pytest_isolate.plugin.items.keep import Keeping
from pytest_isolate.plugin.items.requirements import ItemRequirements
from pytest_isolate.plugin.items.resets import Resets
from pytest_isolate.plugin.options import KEEP_NEVER, Settings, runs_no_tests
from pytest_isolate.plugin.run import xdist
from pytest_isolate.plugin.run.controller import Controller
from pytest_isolate.plugin.run.early import KNOWN_KEY, new_run
from pytest_isolate.plugin.run.interrupts import join_interrupts
from pytest_isolate.plugin.run.opening import open_run, open_without_engine, run_budget
from pytest_isolate.plugin.run.wiring import Wired, check_budget, check_reuse, wire
from pytest_isolate.plugin.terminal.display import Display, NotesView, display_noted, display_own, open_view
from pytest_isolate.plugin.terminal.other_outputs import add_to_junit, group_sections, write_step_summary
from pytest_isolate.plugin.terminal.report import Report, describe_engine, note_variant
from pytest_isolate.running.cleanup.remove import remove_all_before
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.containers.handle import Service, Stack
from pytest_isolate.running.data.fresh_service import FreshService
from pytest_isolate.running.images.images import missing_images
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.owners import whose
from pytest_isolate.text import without_root

if TYPE_CHECKING:
    from pytest_isolate.engine.api import Engine
    from pytest_isolate.plugin.items.recording import Recording

# How long starts that are under way are waited for when the run ends; each notices between two requests.
_CLOSE_S = 20
# How many tests ahead are seen to. Two fill the time of two starts at once, which is what an engine gains from.
_AHEAD = 2
# Saving what takes longer than that is left to a later run.
_SNAPSHOTS_S = 10
# How long an engine that does not answer may take to come back before its objects are reported as left behind.
_CLEANUP_S = 10


class IsolateSession:
    """A pytest plugin object for one run with --isolate: in xdist's controller, and wherever a test needs a service.

    declare -> plan -> start -> (ready -> hand to tests) -> clean up -> report, in this order below. Without xdist one
    process is controller and worker.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._clock = SystemClock()
        self._timeline = Timeline(self._clock)
        self._report = Report(self._timeline)
        self._keeping = Keeping(settings.keep, self._clock)
        config.pluginmanager.register(self._keeping, "isolate-keeping")
        self._member = xdist.receive(config)
        self._controller: Controller | None = None
        if self._member is None:
            known = config.stash.get(KNOWN_KEY, None)
            run = replace(known.run if known else new_run(), extra_labels=whose(settings.project))
            self._controller = Controller(config, settings, run, self._clock, self._keeping.leave)
        self._worker = self._member.run.worker if self._member else ""
        self._workers = self._member.workers if self._member else 1
        self._requirements = ItemRequirements(config, self._worker)
        self._plan = Plan()
        self._wired: Wired | None = None
        self._has_engine = False
        # A page tells of the engine, and what is kept is on it.
        self._may_do_without = not (settings.page or settings.reuse or settings.keep != KEEP_NEVER)
        self._item: pytest.Item | None = None
        self._placed: dict[pytest.Item, tuple[Instance, ...]] = {}
        self._number = 0
        self._failures = Failures(self._clock, settings.artifacts)
        self._resets = Resets(self._failures.secure)
        self._is_on_github = os.environ.get("GITHUB_ACTIONS") == "true"
        self._recording = self._open_recording()
        self._separate_interrupts = join_interrupts()
        self._display = Display(tuple, None)

    @property
    def has_engine(self) -> bool:
        """Whether this process has needed an engine."""
        return self._has_engine

    @property
    def plan(self) -> Plan:
        """What the selected tests need; empty until they are collected."""
        return self._plan

    # -- declare, plan, start -------------------------------------------------------------------------------------

    def begin(self, session: pytest.Session) -> None:
        """The run's story up to the first test. What is wrong ends the run before anything has started."""
        try:
            self._load(session)
            self._plan = build_plan(
                (self._requirements.of(item) for item in session.items), self._requirements.catalogue
            )
            if self._settings.plan_only and self._worker:
                session.items.clear()
                xdist.report(self._config, plan=self._report.plan_lines(self._plan))
            self._check_budget()
            self._open_display()
            is_broken = session.testsfailed and not self._config.option.continue_on_collection_errors
            if self._plan.steps and not self._only_looks() and not is_broken:
                instances = [step.instance for step in self._plan.steps]
                self._open(instances).lifecycle.start(self._plan.first_wave if not self._worker else ())
        except IsolateError as error:
            self._refuse(session, str(error))

    def _load(self, session: pytest.Session) -> None:
        self._requirements.load(session)
        self._report.used = {
            str(s): str(spec.external) for s, spec in self._requirements.catalogue.services.items() if spec.external
        }
        self._check_known()
        if self._requirements.differ(session.items):
            forget_values_by(session, self._key_of)

    def _key_of(self, name: str, namespace: str) -> Hashable:
        """What the value of a service's fixture is made for: for another variant, override or instance it is made anew.

        pytest asks for it whenever a test asks for the fixture, so this is also where it is known what a test uses.
        """
        assert self._item is not None
        catalogue = self._requirements.catalogues.of(self._item)
        services = members(catalogue, name, namespace)
        if ServiceId(StackId(namespace), name) not in catalogue.fresh:
            self._resets.note(services)
        changes = tuple(map(catalogue.variation, services))
        names = tuple(self._requirements.catalogues.names_of(name, namespace, self._item).items())
        return changes or names, self._resets.replacements(services)

    def pytest_report_collectionfinish(self) -> list[str]:
        """What is about to start, or, with --isolate-plan, what would."""
        if self._controller is None or xdist.is_controller(self._config):
            return []
        if self._settings.plan_only:
            return self._report.plan_lines(self._plan)
        if self._wired is None:
            return []
        engine = self._wired.engine
        try:
            missing = missing_images(engine, (step.instance.spec for step in self._plan.steps))
            return self._report.start_lines(self._plan, self._controller.run, engine.facts(), missing)
        except EngineError:
            return []  # each service tells it in full

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool | None:
        """With --isolate-plan, run nothing."""
        return True if self._settings.plan_only and not xdist.is_controller(self._config) else None

    def _open_display(self) -> None:
        """Show what this process waits for. pytest captures nothing at this moment."""
        if self._only_looks():
            return
        view = NotesView(self._member.folder, self._worker) if self._member else open_view(self._config)
        self._display = display_own(self._timeline, view, self._worker)

    def _only_looks(self) -> bool:
        return runs_no_tests(self._config, self._settings)

    def _check_budget(self) -> None:
        check_budget(run_budget(self._settings), peak_demand(self._plan, self._workers))
        check_resets((step.instance for step in self._plan.steps), self._workers)
        check_reuse(self._settings, self._plan)

    def _check_known(self) -> None:
        known = self._config.stash.get(KNOWN_KEY, None)
        ports = self._member.ports if self._member else known.ports if known else {}
        if ports:
            from pytest_isolate.plugin.declaring.environment import (
                check_known,  # only where the project has such a table
            )

            check_known(self._requirements.catalogue, ports, is_reused=self._settings.reuse)

    def _open(self, needed: Iterable[Instance] = ()) -> Wired:
        """The wired objects of this process; on the first call the engine is connected and the guardian armed.

        Where all that is needed runs already, there is no engine until something else is needed.
        """
        needs_engine = not self._may_do_without or any(map(self._takes_engine, needed))
        if self._wired and needs_engine and not self._has_engine:
            self._wired.close(0)
            self._wired = None
        if self._wired is None:
            member = self._member or self._controller_of_this_process().member()
            settings, clock, report = self._settings, self._clock, self._report
            opened = open_run(self._config, member, settings, clock, report) if needs_engine else open_without_engine()
            self._has_engine = needs_engine
            facts = opened.engine.facts()
            report.engine = f"{describe_engine(facts)} (run {member.run.run_id})"
            recorder = self._recording.record(opened.engine) if self._recording else None
            self._wired = wire(opened, member, settings, self._plan, clock, self._timeline, recorder=recorder)
            self._failures.connect(self._wired, member.folder, self._worker)
        return self._wired

    def _takes_engine(self, instance: Instance) -> bool:
        """Whether it is started, or copied by clients that run in a container."""
        return not instance.spec.external or instance.key in self._plan.copies

    def _controller_of_this_process(self) -> Controller:
        assert self._controller is not None
        return self._controller

    def _refuse(self, session: pytest.Session, text: str) -> None:
        """End the run with exit code 4. A worker cannot do that, so it runs nothing and tells the controller why."""
        text = without_root(text, self._config.rootpath)
        if not self._worker:
            raise pytest.UsageError(text)
        session.items.clear()
        xdist.report(self._config, refused=text)

    # -- hand to tests --------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
        """Begin to start all that a test needs at once, so that its fixtures wait for the slowest only.

        Then what the next ones need, so that it is there when they come.
        """
        self._item = item
        if not self._only_looks():
            self._start_for([item, *self._items_after(item, nextitem)])
            self._report.note_served((i.key.service for i in self._placed.get(item, ())), item.nodeid)
        return (yield)

    def _items_after(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.Item]:
        """The tests that come next, as far as they are known: xdist tells its workers of one."""
        if nextitem is None:
            return []
        items = item.session.items
        # Tests that are run again, or in another order than they were collected in, are looked at one by one.
        if items[self._number : self._number + 1] != [item]:
            self._number = items.index(item) if item in items else len(items)
        self._number += 1
        after = [] if self._worker else items[self._number : self._number + _AHEAD]
        return after if nextitem in after else [nextitem]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """The moment from which on what services write counts as the test's."""
        self._failures.begin(
            item.nodeid, lambda: self._requirements.place(item, used_fixtures), self._placed.get(item, ())
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        """The end of its set-up."""
        self._failures.enter("call")

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
        """Reset what the test has used; remove what belongs to the test, class, module or package that ends with it.

        Within pytest's own wrappers: what a reset writes is captured as the test's.
        """
        ended = self._requirements.places_that_end(item, nextitem) if self._wired else frozenset()
        try:
            wired = None if self._keeping.is_last_word(item, nextitem) else self._wired
            with (
                self._failures.teardown(),
                self._resets.behind(item, lambda used: self._requirements.place_services(used, item), wired, ended),
            ):
                return (yield)
        except (Exception, pytest.fail.Exception):
            self._keeping.keep_late(lambda: self._requirements.of(item, used_fixtures), self._wired)
            raise
        finally:
            if self._wired:
                self._wired.fresh_copies.end_places(ended.__contains__)
                self._wired.lifecycle.end_places(ended.__contains__)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note which variant the test was run for; with one that fails, tell what its services say that explains it."""
        report: pytest.TestReport = note_variant((yield), variant_of(item))
        if report.failed and self._wired:
            advice = self._wired.lifecycle.log_hints({instance.key for instance in self._placed.get(item, ())})
            untold = self._resets.untold if report.when == "teardown" else []
            report.sections += [("isolate", text) for text in (*advice, *untold)]
            self._keeping.note(report, lambda: self._requirements.of(item, used_fixtures), self._wired)
        self._failures.tell(report, item)
        note_failed_start(report, call.excinfo.value if call.excinfo else None)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What is told of services, for others than the terminal too. xdist's workers leave that to the controller."""
        if self._worker:
            return
        add_to_junit(self._config, report)
        if self._is_on_github:
            group_sections(report)

    def hand_out(self, name: str, namespace: str) -> object:
        """The value of a fixture: the handle of a service, or a stack of them, once all are ready."""
        __tracebackhide__ = True
        assert self._item is not None
        try:
            wanted = members(self._requirements.catalogue, name, namespace)
            if not wanted:
                return self._requirements.catalogues.names_of(name, namespace, self._item)
            placed = self._requirements.place_services(wanted, self._item)
            check_resets(placed, self._workers)
            with self._display.waiting():
                if placed:
                    self._open(placed).lifecycle.start(placed)
                self._report.note_served((i.key.service for i in placed), self._item.nodeid)
                instances = {i.key.service: i for i in placed}
                services = {m.name: self._open().lifecycle.handle(instances[m].key) for m in wanted}
                fresh_id = ServiceId(StackId(namespace), name)
                if fresh_id in self._requirements.catalogue.fresh:
                    return self._hand_out_copy(fresh_id, instances[wanted[0]], services[wanted[0].name])
        except IsolateError as error:
            # Its causes are told in its text; as a chain they would all be printed again.
            raise as_failure(error) from None
        is_stack = StackId(namespace, name) in self._requirements.catalogue.stacks
        return Stack(name, services) if is_stack else services[wanted[0].name]

    def _hand_out_copy(self, fresh_id: ServiceId, instance: Instance, base: Service) -> FreshService:
        assert self._item is not None
        wired, spec = self._open(), self._requirements.catalogue.fresh[fresh_id]
        where = position(self._item, self._worker)
        want = CopyDemand(fresh_id=fresh_id, spec=spec, count=1)
        place = place_of_copy(spec, fresh_id, where)
        with self._timeline.measure("copy", str(fresh_id)):
            return wired.fresh_copies.handle(want, place, wired.lifecycle.wait(instance.key), base, where.test)

    def _start_for(self, items: Sequence[pytest.Item]) -> None:
        """Begin to start what tests ask for, as far as that is known before they run."""
        known = self._placed
        self._placed = {item: known[item] if item in known else self._requirements.place(item) for item in items}
        if any(self._placed.values()):
            instances = [instance for placed in self._placed.values() for instance in placed]
            self._open(instances).lifecycle.start_for([(item.nodeid, placed) for item, placed in self._placed.items()])

    # -- clean up, report -----------------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Remove everything. Comes behind the tear-down of all fixtures."""
        self._clean_up(has_time=session.exitstatus != pytest.ExitCode.INTERRUPTED)
        if self._report.cleanup_errors and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._report.refusals:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_unconfigure(self) -> None:
        """Remove everything also when pytest has not come to its end."""
        self._clean_up()
        self._separate_interrupts()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What ran, how long it took to be ready, and what could not be removed."""
        self._report.write_summary(terminalreporter)
        page = os.environ.get("GITHUB_STEP_SUMMARY")
        if self._is_on_github and page:
            write_step_summary(Path(page), terminalreporter)

    def _clean_up(self, *, has_time: bool = False) -> None:
        """Remove all of this process's objects, and in the controller all of the run's. Safe to repeat.

        With time, snapshots that are being saved are waited for, and the slow part is left to the guardian; without,
        everything is gone when this returns.
        """
        with _without_interruption():
            try:
                with self._display.waiting(), self._timeline.measure("clean-up", "run"):
                    self._remove(in_background=has_time)
            except IsolateError as error:
                self._report.cleanup_errors.append(str(error))
                xdist.report(self._config, cleanup_error=str(error))
            finally:
                self._display.close()
                self._failures.close()
                if self._wired:
                    self._report.fresh = self._wired.fresh_copies.figures()
                    self._report.dropped = sorted(self._wired.engine.dropped_limits())
                    xdist.report(self._config, kept=sorted(self._wired.kept_codes))
                    self._wired.close(_SNAPSHOTS_S if has_time else 0)
                    self._wired = None
                self._write_page()
                if self._controller:
                    self._report.warnings += self._controller.close()
                xdist.report(self._config, figures=self._report.figures())

    def _remove(self, *, in_background: bool) -> None:
        if self._wired:
            self._wired.fresh_copies.close(_CLOSE_S)
            self._wired.resetter.close(_CLOSE_S)
            self._wired.lifecycle.close(_CLOSE_S)
            rest = self._keeping.rest(self._wired)
            self._keeping.hear(rest)
            xdist.report(self._config, rest=rest)
            for running in self._wired.lifecycle.ready():
                self._wired.usage_meter.read(running)
            self._report.usage = self._wired.usage_meter.figures()
        if self._recording:
            self._recording.close_process(self._timeline)
        if self._controller:
            kept = self._wired.kept_codes if self._wired else ()
            engine = self._wired.engine if self._wired and self._has_engine else None
            self._controller.remove_run(engine, kept, _CLEANUP_S, in_background=in_background)
        elif self._wired and self._member:
            engine, run = self._wired.engine, self._member.run
            left = self._keeping.leave(engine, run, self._report.warnings)
            remove_all_before(engine, run.own_labels(), self._clock, _CLEANUP_S, left)

    # -- the page of --isolate-report -----------------------------------------------------------------------------

    def _open_recording(self) -> Recording | None:
        if self._settings.page is None or self._only_looks():
            return None
        from pytest_isolate.plugin.items.recording import Recording  # Jinja2, and all that only the page needs

        folder = (self._member or self._controller_of_this_process().member()).folder
        engine = self._engine_of_run if self._controller else None
        recording = Recording(
            self._settings.page, folder, self._worker, self._clock, self._requirements.codes_of, engine
        )
        self._config.pluginmanager.register(recording, "isolate-report")
        return recording

    def _engine_of_run(self) -> Engine:
        return self._wired.engine if self._wired else self._controller_of_this_process().connect()

    def _write_page(self) -> None:
        if self._recording and self._controller:
            try:
                self._recording.write_page(self._config.rootpath.name, self._controller.run.run_id)
            except OSError as error:
                text = f"the page of --isolate-report could not be written\n  found  {error}"
                self._report.cleanup_errors.append(text)

    # -- xdist ----------------------------------------------------------------------------------------------------

    def greet_worker(self, node: Any) -> None:
        """In the controller: tell a worker that is about to start which run it belongs to; show what it waits for."""
        member = self._controller_of_this_process().member()
        xdist.send(node, member)
        if not self._config.pluginmanager.has_plugin("isolate-display"):
            self._display = display_noted(member.folder, open_view(self._config))
            self._config.pluginmanager.register(self._display, "isolate-display")
            self._display.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """In the controller: a worker has ended, or crashed."""
        facts = xdist.read_report(node)
        if "plan" in facts:
            self._report.plan = facts["plan"]
        if "refused" in facts:
            self._report.refusals.add(facts["refused"])
        if "cleanup_error" in facts:
            self._report.cleanup_errors.append(facts["cleanup_error"])
        controller = self._controller_of_this_process()
        if "figures" in facts:
            self._report.add_figures(facts["figures"])
        controller.kept_codes.update(facts.get("kept", ()))
        self._keeping.hear(facts.get("rest", ()))
        if error:
            controller.bury_worker(xdist.worker_of(controller.member(), node))


@contextmanager
def _without_interruption() -> Iterator[None]:
    """Hold back SIGINT, so that a second Ctrl-C does not leave containers behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
