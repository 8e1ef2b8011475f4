"""The end of a run in one process: all is stopped, removed, reported and closed, whatever goes wrong on the way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_isolate.errors import IsolateError
from pytest_isolate.plugin.run import xdist
from pytest_isolate.plugin.run.process import RunProcess
from pytest_isolate.plugin.run.wiring import Wired
from pytest_isolate.running.cleanup.remove import remove_all_before

if TYPE_CHECKING:
    from pytest_isolate.plugin.items.failures import Failures
    from pytest_isolate.plugin.items.keep import Retention

# How long starts that are under way are waited for; each notices between two requests that the run has ended.
_CLOSE_S = 20
# Saving what takes longer than that is left to a later run.
_SNAPSHOTS_S = 10
# How long an engine that does not answer may take to come back before its objects are reported as left behind.
_CLEANUP_S = 10


class Shutdown:
    """Removes all objects of this process, and in the controller all of the run."""

    def __init__(self, process: RunProcess, failures: Failures, retention: Retention) -> None:
        self._process = process
        self._failures = failures
        self._retention = retention

    def run(self, *, has_time: bool = False) -> None:
        """Remove everything, and close what is open. Safe to repeat.

        With time, snapshots that are being saved are waited for, and the slow part is left to the guardian; without,
        everything is gone when this returns.
        """
        process = self._process
        with _interrupts_held_back():
            try:
                with process.display.waiting(), process.timeline.measure("clean-up", "run"):
                    self._stop()
                    self._remove(in_background=has_time)
            except IsolateError as error:
                process.report.cleanup_errors.append(str(error))
                xdist.report(process.config, cleanup_error=str(error))
            finally:
                process.display.close()
                self._failures.close()
                self._report_figures()
                process.close_early()
                process.close(_SNAPSHOTS_S if has_time else 0)
                self._write_page()
                if not process.worker:
                    process.report.warnings += process.controller.close()
                xdist.report(process.config, figures=process.report.figures())

    def _stop(self) -> None:
        """End what is under way, while the containers are there to be asked."""
        wired, early = self._process.wired, self._process.early
        if early:
            self._process.report.usage = early.stop(_CLOSE_S)
        if wired:
            close_services(wired, _CLOSE_S)
            retained = self._retention.unreported(wired)
            self._retention.add(retained)
            xdist.report(self._process.config, retained=retained)
            for running in wired.lifecycle.ready():
                wired.usage_meter.read(running)
            self._process.report.usage |= wired.usage_meter.figures()
        if self._process.recording:
            self._process.recording.close_process(self._process.timeline)

    def _remove(self, *, in_background: bool) -> None:
        process, wired = self._process, self._process.wired
        if not process.worker:
            kept = wired.kept_codes if wired else ()
            engine = wired.engine if wired and process.has_engine else None
            process.controller.remove_run(engine, kept, _CLEANUP_S, in_background=in_background)
        elif wired:
            run = process.member.run
            retained = self._retention.choose(wired.engine, run, process.report.warnings)
            remove_all_before(wired.engine, run.own_labels(), process.clock, _CLEANUP_S, retained)

    def _report_figures(self) -> None:
        wired, report = self._process.wired, self._process.report
        if wired:
            report.fresh = wired.fresh_copies.figures()
            report.dropped = sorted(wired.engine.dropped_limits())
            xdist.report(self._process.config, kept=sorted(wired.kept_codes))

    def _write_page(self) -> None:
        process = self._process
        if process.recording and process.recording.trouble:
            text = f"the page of --isolate-report is not complete\n  found  {process.recording.trouble}"
            process.report.cleanup_errors.append(text)
            xdist.report(process.config, cleanup_error=text)
        if process.recording and not process.worker:
            try:
                process.recording.write_page(process.config.rootpath.name, process.controller.run.run_id)
            except OSError as error:
                text = f"the page of --isolate-report could not be written\n  found  {error}"
                process.report.cleanup_errors.append(text)


def close_services(wired: Wired, timeout_s: float) -> None:
    """Begin nothing more with services; starts that are under way are waited for so long."""
    wired.fresh_copies.close(timeout_s)
    wired.resetter.close(timeout_s)
    wired.lifecycle.close(timeout_s)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold back SIGINT, so that a second Ctrl-C does not leave containers behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
