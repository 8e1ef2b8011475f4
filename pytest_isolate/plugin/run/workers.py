"""xdist's workers, from the controller's side: which run they belong to, and what they report at their end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pytest_isolate.plugin.run import xdist
from pytest_isolate.plugin.run.process import RunProcess
from pytest_isolate.plugin.terminal.display import display_noted
from pytest_isolate.plugin.terminal.views import open_view


class Workers:
    """A pytest plugin object of the controller; `retain` takes what workers want to be left for the user."""

    def __init__(self, process: RunProcess, retain: Callable[[Iterable[Any]], None]) -> None:
        self._process = process
        self._retain = retain

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
        if "figures" in facts:
            report.add_figures(facts["figures"])
        controller.kept_codes.update(facts.get("kept", ()))
        self._retain(facts.get("retained", ()))
        if error:
            controller.clean_up_worker(xdist.worker_of(controller.member(), node))
