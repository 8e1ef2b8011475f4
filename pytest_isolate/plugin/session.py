"""One run with --isolate, from declared to cleaned up, as the steps that pytest's hooks allow."""

from __future__ import annotations

import os
import random
import re
import secrets
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_isolate.errors import EngineError, IsolateError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.scope import Scope
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.loading import Catalogue, load
from pytest_isolate.planning.placement import Instance, place_instances, places_of
from pytest_isolate.planning.plan import Demand, Plan, build_plan
from pytest_isolate.plugin import xdist
from pytest_isolate.plugin.fixtures import all_declared, asked_fixtures, builtin_fixture_names, position
from pytest_isolate.plugin.options import Settings
from pytest_isolate.plugin.report import Report
from pytest_isolate.running.addresses import Addresses, check_bind_ip
from pytest_isolate.running.cleanup import remove_all_before
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.deaths import Deaths
from pytest_isolate.running.handle import Stack
from pytest_isolate.running.images import Images, missing_images
from pytest_isolate.running.launching import Launcher
from pytest_isolate.running.lifecycle import Lifecycle
from pytest_isolate.running.networks import Networks
from pytest_isolate.running.owner import read_owner
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.running.watching import Watcher
from pytest_isolate.sharing.store import open_locks

if TYPE_CHECKING:
    from pytest_isolate.engine.api import Engine

# How long starts that are under way are waited for when the run ends; each notices between two requests.
_CLOSE_S = 20
# How long an engine that does not answer may take to come back before its objects are reported as left behind.
_CLEANUP_S = 10


class IsolateSession:
    """A pytest plugin object that lives for one run with --isolate, in the controller and in each worker.

    declare -> plan -> start -> (ready -> hand to tests) -> clean up -> report, in this order below.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._run = xdist.receive_run(config) or Run(
            run_id=secrets.token_hex(4), owner=read_owner(), secret=secrets.token_bytes(32)
        )
        self._clock = SystemClock()
        self._timeline = Timeline(self._clock)
        self._report = Report(self._timeline)
        self._catalogue = Catalogue(services={}, stacks={}, dependencies={})
        self._plan = Plan()
        self._engine: Engine | None = None
        self._lifecycle: Lifecycle | None = None
        self._deaths: Deaths | None = None
        self._item: pytest.Item | None = None
        self._is_lost = False

    # -- declare, plan, start -------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """The run's story up to the first test. What is wrong ends the run before anything has started."""
        if xdist.is_controller(self._config):
            return
        try:
            self._catalogue = load(
                all_declared(session), reserved=builtin_fixture_names(session), exists=os.path.exists
            )
            self._plan = build_plan((self._demand(item) for item in session.items), self._catalogue)
            is_broken = session.testsfailed and not self._config.option.continue_on_collection_errors
            if self._only_looks() or is_broken:
                return
            if self._plan.steps:
                self._open_engine()
            if self._lifecycle and not self._run.worker:
                self._lifecycle.start(self._plan.first_wave)
        except IsolateError as error:
            self._refuse(session, str(error))

    def pytest_report_collectionfinish(self) -> list[str]:
        """What is about to start, or, with --isolate-plan, what would."""
        if xdist.is_controller(self._config) or self._run.worker:
            return []
        if self._settings.plan_only:
            return self._report.plan_lines(self._plan)
        if self._engine is None:
            return []
        try:
            missing = missing_images(self._engine, (step.instance.spec for step in self._plan.steps))
            return self._report.start_lines(self._plan, self._run, self._engine.facts(), missing)
        except EngineError:
            return []  # each service tells it in full

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """With --isolate-plan, run nothing."""
        return True if self._settings.plan_only and not xdist.is_controller(self._config) else None

    def _only_looks(self) -> bool:
        """Whether the options say that no test will run, so that nothing may be started."""
        option = self._config.option
        names = ("collectonly", "setupplan", "showfixtures", "show_fixtures_per_test")
        return self._settings.plan_only or any(getattr(option, name, False) for name in names)

    def _demand(self, item: pytest.Item) -> Demand:
        services: dict[ServiceId, None] = {}
        for name, namespace in asked_fixtures(item):
            services |= dict.fromkeys(self._members(name, namespace))
        return Demand(where=position(item, self._run.worker), services=tuple(services))

    def _members(self, name: str, namespace: str) -> list[ServiceId]:
        """The service of that name, or the services of the stack of that name."""
        stack = self._catalogue.stacks.get(StackId(namespace, name))
        if stack is None:
            return [ServiceId(StackId(namespace), name)]
        return [ServiceId(StackId(namespace, name), member.name) for member in stack.services]

    def _open_engine(self) -> None:
        """Connect to the engine and wire the objects that do the plan."""
        rng = random.Random(secrets.randbits(64))
        bind_ip = check_bind_ip(self._settings.bind)
        engine = self._engine = self._connect()
        facts = engine.facts()
        if not facts.is_local:
            raise EngineError(
                f"the engine at {facts.address} is on another host",
                found="services are published on ports that are reserved on this host",
                do="use an engine on this host: unset DOCKER_HOST, or docker context use default",
            )
        addresses = Addresses(rng, bind_ip=bind_ip)
        deaths = self._deaths = Deaths(engine, self._run)
        deaths.start()
        self._lifecycle = Lifecycle(
            engine=engine,
            run=self._run,
            clock=self._clock,
            timeline=self._timeline,
            images=Images(engine, open_locks(), self._report.progress),
            networks=Networks(engine, self._run, self._settings.subnets, rng),
            addresses=addresses,
            launcher=Launcher(engine, self._run, addresses, self._clock.time),
            watcher=Watcher(engine, self._run, self._clock, deaths),
        )

    def _connect(self) -> Engine:
        given: Engine | None = self._config.hook.pytest_isolate_engine(config=self._config)
        if given is not None:
            return given
        from pytest_isolate.engine.docker import connect

        return connect(os.environ)

    def _refuse(self, session: pytest.Session, text: str) -> None:
        """End the run with exit code 4. A worker cannot do that, so it runs nothing and tells the controller why."""
        # Not in an address such as unix:///path.
        text = re.sub(rf"(?<!//){re.escape(str(self._config.rootpath))}{re.escape(os.sep)}", "", text)
        if not self._run.worker:
            raise pytest.UsageError(text)
        session.items.clear()
        xdist.report(self._config, refused=text)

    # -- hand to tests --------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Begin to start all that a test needs at once, so that its fixtures wait for the slowest only."""
        self._item = item
        if not self._only_looks():
            self._start_for(item, self._demand(item).services)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
        """Remove what belongs to the test, class, module or package that ends with this test."""
        try:
            return (yield)
        finally:
            if self._lifecycle:
                namespaces = {service.stack.namespace for service in self._catalogue.services}
                active = places_of(position(nextitem, self._run.worker), namespaces) if nextitem else frozenset()
                self._lifecycle.finish_places(lambda p: p.scope is not Scope.SESSION and p not in active)

    def hand_out(self, name: str, namespace: str) -> object:
        """The value of a fixture: the handle of a service, or a stack of them, once all are ready."""
        __tracebackhide__ = True
        assert self._item is not None
        try:
            members = self._members(name, namespace)
            instances = {i.key.service: i for i in self._start_for(self._item, members)}
            assert self._lifecycle is not None
            services = {m.name: self._lifecycle.hand_out(instances[m].key) for m in members}
        except IsolateError as error:
            # Its causes are told in its text; as a chain they would all be printed again.
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        return Stack(name, services) if StackId(namespace, name) in self._catalogue.stacks else services[name]

    def _start_for(self, item: pytest.Item, services: Any) -> tuple[Instance, ...]:
        instances = place_instances(services, self._catalogue, position(item, self._run.worker))
        if instances and self._lifecycle is None:
            self._open_engine()
        if self._lifecycle:
            self._lifecycle.start(instances)
        return instances

    # -- clean up, report -----------------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Remove everything. Comes behind the tear-down of all fixtures."""
        self._clean_up()
        if self._report.cleanup_error and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._report.refusals:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_unconfigure(self) -> None:
        """Remove everything also when pytest has not come to its end."""
        self._clean_up()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What ran, how long it took to be ready, and what could not be removed."""
        self._report.write_summary(terminalreporter)

    def _clean_up(self) -> None:
        """Remove all of this process's objects, and in the controller those of workers that crashed. Safe to repeat."""
        if self._is_lost and not self._engine:
            self._engine = self._connect()
        if not self._engine:
            return
        with _without_interruption():
            try:
                with self._timeline.measure("clean-up", "run"):
                    if self._lifecycle:
                        self._lifecycle.close(_CLOSE_S)
                    remove_all_before(self._engine, self._run.own_labels(), self._clock, _CLEANUP_S)
                xdist.report(self._config, cleaned="yes")
            except IsolateError as error:
                self._report.cleanup_error = str(error)
                xdist.report(self._config, cleanup_error=str(error))
            finally:
                if self._lifecycle:
                    self._lifecycle.release_addresses()
                if self._deaths:
                    self._deaths.stop()
                self._engine.close()
                self._engine, self._lifecycle, self._is_lost = None, None, False

    # -- xdist ----------------------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """In the controller: a worker is about to start."""
        xdist.send_run(node, self._run)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """In the controller: a worker has ended, or crashed."""
        facts = xdist.read_report(node)
        if "refused" in facts:
            self._report.refusals.add(facts["refused"])
        if "cleanup_error" in facts:
            self._report.cleanup_error = facts["cleanup_error"]
        self._is_lost |= bool(error) or "cleanup_error" in facts


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
