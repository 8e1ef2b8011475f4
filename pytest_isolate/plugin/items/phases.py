"""Each test of a run: its services start ahead of it, its use of them is noted and reset, its failure is explained."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from pytest_isolate.planning.placement import Instance
from pytest_isolate.plugin.declaring.fixtures import used_fixtures, variant_of
from pytest_isolate.plugin.items.failures import Failures, note_failed_start
from pytest_isolate.plugin.items.keep import Retention
from pytest_isolate.plugin.items.requirements import ItemRequirements
from pytest_isolate.plugin.items.resets import Resets
from pytest_isolate.plugin.items.values import FixtureValues
from pytest_isolate.plugin.run.process import RunProcess
from pytest_isolate.plugin.terminal.other_outputs import add_to_junit, group_sections
from pytest_isolate.plugin.terminal.report import note_variant

# How many tests ahead are seen to. Two fill the time of two starts at once, which is what an engine gains from.
_AHEAD = 2


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
        """Begin to start all that a test needs at once, so that its fixtures wait for the slowest only.

        Then what the next ones need, so that it is there when they come.
        """
        self._values.begin(item)
        if not self._process.runs_no_tests:
            self._start_for([item, *self._items_after(item, nextitem)])
            self._process.report.note_served((i.key.service for i in self._placed.get(item, ())), item.nodeid)
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Count what services write from here on as the test's."""
        self._failures.begin(
            item.nodeid, lambda: self._requirements.place(item, used_fixtures), self._placed.get(item, ())
        )

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
                return (yield)
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
        after = [] if self._process.worker else items[self._number : self._number + _AHEAD]
        return after if nextitem in after else [nextitem]

    def _start_for(self, items: Sequence[pytest.Item]) -> None:
        """Begin to start what tests ask for, as far as that is known before they run."""
        known = self._placed
        self._placed = {item: known[item] if item in known else self._requirements.place(item) for item in items}
        if any(self._placed.values()):
            instances = [instance for placed in self._placed.values() for instance in placed]
            tests = [(item.nodeid, placed) for item, placed in self._placed.items()]
            self._process.open(instances).lifecycle.start_for(tests)
