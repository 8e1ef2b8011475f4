"""Each test of a run: its services start ahead of it, its use of them is noted and reset, its failure is explained."""

from __future__ import annotations

import os
from collections.abc import Generator, Hashable, Sequence
from typing import Any

import pytest

from pytest_isolate.errors import IsolateError
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.placement import Instance
from pytest_isolate.planning.plan import CopyDemand, place_of_copy
from pytest_isolate.planning.reset_order import check_resets
from pytest_isolate.plugin.declaring.fixtures import position, used_fixtures, variant_of
from pytest_isolate.plugin.items.catalogues import members
from pytest_isolate.plugin.items.failures import Failures, as_failure, note_failed_start
from pytest_isolate.plugin.items.keep import Retention
from pytest_isolate.plugin.items.requirements import ItemRequirements
from pytest_isolate.plugin.items.resets import Resets
from pytest_isolate.plugin.run.process import RunProcess
from pytest_isolate.plugin.terminal.other_outputs import add_to_junit, group_sections
from pytest_isolate.plugin.terminal.report import note_variant
from pytest_isolate.running.containers.handle import Service, Stack
from pytest_isolate.running.data.fresh_service import FreshService

# How many tests ahead are seen to. Two fill the time of two starts at once, which is what an engine gains from.
_AHEAD = 2


class FixtureValues:
    """Hands out services, stacks and fresh copies: each is waited for when the test asks for it."""

    item: pytest.Item
    """The test that runs now."""

    def __init__(self, process: RunProcess, requirements: ItemRequirements, resets: Resets) -> None:
        self._process = process
        self._requirements = requirements
        self._resets = resets
        # What could not be made: fixtures, and what their values would have been made for.
        self._failed: set[tuple[str, str, Hashable]] = set()

    def key_of(self, name: str, namespace: str) -> Hashable:
        """The variant, overrides and instance that a fixture's value is made for: with others it is made anew.

        pytest asks for it whenever a test asks for the fixture, so this is also where it is known what a test uses.
        """
        key = self._key_of(name, namespace)
        # pytest raises the error of one that could not be made again, for each test that asks for it.
        if (name, namespace, key) not in self._failed:
            self._note(name, namespace)
        return key

    def handle(self, name: str, namespace: str) -> object:
        """The value of a fixture: the handle of a service, or a stack of them, once all are ready."""
        __tracebackhide__ = True
        made_for = (name, namespace, self._key_of(name, namespace))
        try:
            value = self._handle(name, namespace)
        except BaseException as error:
            self._failed.add(made_for)
            self._resets.drop((name, namespace))
            if isinstance(error, IsolateError):
                # Its causes are told in its text; as a chain they would all be printed again.
                raise as_failure(error) from None
            raise
        self._failed.discard(made_for)
        self._note(name, namespace)
        return value

    def _key_of(self, name: str, namespace: str) -> Hashable:
        catalogue = self._requirements.catalogues.of(self.item)
        services = members(catalogue, name, namespace)
        changes = tuple(map(catalogue.variation, services))
        names = tuple(self._requirements.catalogues.names_of(name, namespace, self.item).items())
        return changes or names, self._resets.replacements(services)

    def _note(self, name: str, namespace: str) -> None:
        """Note that the test is given the services of this fixture. A test of a fresh copy changes that alone."""
        catalogue = self._requirements.catalogues.of(self.item)
        services = members(catalogue, name, namespace)
        self._process.report.note_picked(
            self.item.nodeid, self._requirements.catalogues.picked_unasked(services, self.item)
        )
        if ServiceId(StackId(namespace), name) not in catalogue.fresh:
            self._resets.note((name, namespace), services)

    def _handle(self, name: str, namespace: str) -> object:
        catalogue, own = self._requirements.catalogue, ServiceId(StackId(namespace), name)
        services = members(catalogue, name, namespace)
        if not services:
            return self._requirements.catalogues.names_of(name, namespace, self.item)
        placed = self._requirements.place_services(services, self.item)
        check_resets(placed, self._process.workers)
        with self._process.display.waiting():
            if placed:
                self._process.open(placed).lifecycle.start(placed)
            self._process.report.note_served((i.key.words for i in placed), self.item.nodeid)
            instances = {i.key.service: i for i in placed}
            lifecycle = self._process.open().lifecycle
            handles = {service.name: lifecycle.handle(instances[service].key) for service in services}
            first = handles[services[0].name]
            if own in catalogue.fresh:
                return self._handle_copy(own, instances[services[0]], first)
        return Stack(name, handles) if StackId(namespace, name) in catalogue.stacks else first

    def _handle_copy(self, fresh_id: ServiceId, instance: Instance, base: Service) -> FreshService:
        wired, spec = self._process.open(), self._requirements.catalogue.fresh[fresh_id]
        where = position(self.item, self._process.worker)
        demand = CopyDemand(fresh_id=fresh_id, spec=spec, count=1)
        place = place_of_copy(spec, fresh_id, where)
        with self._process.timeline.measure("copy", str(fresh_id)):
            return wired.fresh_copies.handle(demand, place, wired.lifecycle.wait(instance.key), base, where.test)


class ItemPhases:
    """A pytest plugin object: its hooks are in the order in which pytest calls them for a test."""

    def __init__(
        self,
        process: RunProcess,
        requirements: ItemRequirements,
        values: FixtureValues,
        resets: Resets,
        failures: Failures,
        retention: Retention,
    ) -> None:
        self._process = process
        self._requirements = requirements
        self._values = values
        self._resets = resets
        self._failures = failures
        self._retention = retention
        self._placed: dict[pytest.Item, tuple[Instance, ...]] = {}
        self._number = 0
        self._is_on_github = os.environ.get("GITHUB_ACTIONS") == "true"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
        """Begin to start all that a test needs, so that it waits for the slowest only, and what the next ones need."""
        self._values.item = item
        if not self._process.runs_no_tests:
            after = self._items_after(item, nextitem)
            self._start_for([item, *after[:_AHEAD]], after[_AHEAD:])
            self._process.report.note_served((i.key.words for i in self._placed.get(item, ())), item.nodeid)
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Count what services write from here on as the test's."""
        self._failures.begin(
            item.nodeid, lambda: self._requirements.place(item, used_fixtures), self._placed.get(item, ())
        )
        self._raise_if_failed(self._placed.get(item, ()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        """Note the end of its set-up."""
        self._failures.enter("call")

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
        """Reset what the test has used; remove what belongs to the test, class, module or package that ends with it.

        Within pytest's own wrappers: what a reset writes is captured as the test's.
        """
        wired = self._process.wired
        ended = self._requirements.places_that_end(item, nextitem) if wired else frozenset()
        to_reset = None if self._retention.skips_resets_after(item, nextitem) else wired
        try:
            with (
                self._failures.teardown(),
                self._resets.behind(item, lambda used: self._requirements.place_services(used, item), to_reset, ended),
            ):
                value = yield
                if not self._failures.has_failed and wired and wired.lifecycle.failed():
                    self._raise_if_failed(self._requirements.place(item, used_fixtures))
                return value
        except (Exception, pytest.fail.Exception):
            self._retention.retain_early(lambda: self._requirements.of(item, used_fixtures), self._process.wired)
            raise
        finally:
            if self._process.wired:
                self._process.wired.fresh_copies.end_places(ended.__contains__)
                self._process.wired.lifecycle.end_places(ended.__contains__)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note which variant the test was run for; with one that fails, tell what its services say that explains it."""
        report: pytest.TestReport = note_variant((yield), variant_of(item))
        wired = self._process.wired
        if report.failed and wired:
            hints = wired.lifecycle.log_hints({instance.key for instance in self._placed.get(item, ())})
            resets = self._resets.untold if report.when == "teardown" else []
            report.sections += [("isolate", text) for text in (*hints, *resets)]
            self._retention.note_failure(report, lambda: self._requirements.of(item, used_fixtures), wired)
        self._failures.tell(report, item)
        note_failed_start(report, call.excinfo.value if call.excinfo else None)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Show what explains a failure in other outputs too. xdist's workers leave that to the controller."""
        if self._process.worker:
            return
        add_to_junit(self._process.config, report)
        if self._is_on_github:
            group_sections(report)

    def _items_after(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.Item]:
        """The tests that come next, as far as they are known: xdist tells its workers of one."""
        if nextitem is None:
            return []
        items = item.session.items
        # Tests that are run again, or in another order than they were collected in, are looked at one by one.
        if items[self._number : self._number + 1] != [item]:
            self._number = items.index(item) if item in items else len(items)
        self._number += 1
        after = [] if self._process.worker else items[self._number : self._number + 2 * _AHEAD + 1]
        return after if nextitem in after else [nextitem]

    def _raise_if_failed(self, used: Sequence[Instance]) -> None:
        """Fail a test with what has become of a service that it has, where it would not notice that by itself."""
        __tracebackhide__ = True
        if self._process.wired is None:
            return
        lifecycle, keys = self._process.wired.lifecycle, {instance.key for instance in used}
        for running in lifecycle.failed():
            if running.instance.key in keys:
                raise as_failure(lifecycle.failure_error(running))

    def _start_for(self, items: Sequence[pytest.Item], later: Sequence[pytest.Item]) -> None:
        """Begin to start what tests ask for, as far as that is known before they run, and prepare for later ones."""
        known = self._placed
        self._placed = {
            item: known[item] if item in known else self._requirements.place(item) for item in (*items, *later)
        }
        tests = [(item.nodeid, self._placed[item]) for item in items]
        instances = [instance for _, placed in tests for instance in placed]
        if instances:
            coming = [instance for item in later for instance in self._placed[item]]
            self._process.open(instances).lifecycle.start_for(tests, coming)
