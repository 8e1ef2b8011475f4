"""Tests that need no service, or only such as are ready, run first: what `--isolate-ready-first` asks for."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from typing import Any

import pytest

from pytest_isolate.model.service import Scope
from pytest_isolate.planning.placement import InstanceKey
from pytest_isolate.planning.ready_order import OrderedTest, order_ready_first
from pytest_isolate.plugin.items.requirements import ItemRequirements
from pytest_isolate.plugin.options import READY_FIRST
from pytest_isolate.plugin.run import xdist
from pytest_isolate.plugin.run.process import RunProcess

# Modes of xdist that give tests out in the order in which they were collected.
_ORDERLY = ("load", "worksteal")
_LASTING = ("session", "package")


class ReadyFirst:
    """Orders the tests of a process: before the first one, and again while they run and services become ready.

    Under xdist the controller gives tests out by their numbers, so that there it is done once, in each worker alike.
    """

    def __init__(self, process: RunProcess, requirements: ItemRequirements) -> None:
        self._process = process
        self._requirements = requirements
        self._needed: dict[pytest.Item, tuple[InstanceKey, ...]] = {}
        self._number = 0

    def begin(self, items: list[pytest.Item]) -> None:
        """Put those first that need nothing which has to be started."""
        process = self._process
        if process.worker and xdist.distribution(process.config) not in _ORDERLY:
            return
        waiting = set()
        for item in items:
            started = [i for i in self._requirements.place(item) if not i.spec.external]
            self._needed[item] = tuple(i.key for i in started if i.key.place.scope is Scope.SESSION)
            if started:
                waiting.add(item)
        items[:] = _order(items, [item in waiting for item in items])
        if waiting and not process.worker and not process.runs_no_tests:
            process.config.pluginmanager.register(self, "isolate-ready-first")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Begin with those whose services are ready first. Later, pytest has chosen the next test already."""
        process, needed = self._process, self._needed_by(session.items[:1])
        if process.wired and not process.wired.lifecycle.are_settled(needed):
            with process.display.waiting():
                process.wired.lifecycle.wait_for_one([self._needed_by([item]) for item in session.items])
            self._order_again(session.items, 0)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
        """Let others come before tests that would have to wait."""
        items, first = item.session.items, self._number + 2
        if items[self._number : first] == [item, nextitem]:
            self._order_again(items, first)
            self._number += 1
        return (yield)

    def _order_again(self, items: list[pytest.Item], first: int) -> None:
        lifecycle = self._process.wired.lifecycle if self._process.wired else None
        if lifecycle is None or lifecycle.are_settled(self._needed_by(items[first : first + 1])):
            return
        left = items[first:]
        waits = [not lifecycle.are_settled(self._needed_by([item])) for item in left]
        items[first:] = _order(left, waits, _units(items[first - 1]) if first else ())

    def _needed_by(self, items: Sequence[pytest.Item]) -> Sequence[InstanceKey]:
        return [key for item in items for key in self._needed.get(item, ())]


def is_wanted(config: pytest.Config) -> bool:
    """True if tests are to be ordered. Another order that was asked for counts more than a configuration file."""
    if not READY_FIRST.read(config):
        return False
    option = config.option
    if getattr(option, "stepwise", False):
        return False  # it takes all that was collected before the last failed test for passed
    is_shuffled = config.pluginmanager.hasplugin("randomly") and getattr(option, "randomly_reorganize", True)
    is_ordered = getattr(option, "failedfirst", False) or getattr(option, "newfirst", False)
    return READY_FIRST.is_on_line(config) or not (is_shuffled or is_ordered)


def _order(items: Sequence[pytest.Item], waits: Sequence[bool], current: Sequence[Hashable] = ()) -> list[pytest.Item]:
    tests = [
        OrderedTest(units=_units(item), group=_group(item), waits=waiting)
        for item, waiting in zip(items, waits, strict=True)
    ]
    return [items[place] for place in order_ready_first(tests, current)]


def _units(item: pytest.Item) -> tuple[str, ...]:
    """The packages and the file that a test belongs to: with them fixtures end."""
    return tuple(node.nodeid for node in item.listchain() if isinstance(node, (pytest.Package, pytest.File)))


def _group(item: pytest.Item) -> Hashable:
    """The parameters by which pytest has put tests of several modules together."""
    callspec: Any = getattr(item, "callspec", None)
    scopes = getattr(callspec, "_arg2scope", {})
    return tuple((name, callspec.indices.get(name)) for name in scopes if scopes[name].value in _LASTING)
