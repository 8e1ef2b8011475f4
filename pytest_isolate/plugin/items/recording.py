"""Records a run for the page of --isolate-report, and writes it. Imported only where the option is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.engine.api import Engine
from pytest_isolate.plugin.declaring.fixtures import DECLARATION
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.report.assemble import RunFacts, assemble
from pytest_isolate.running.report.page import render
from pytest_isolate.running.report.recorder import Recorder, Sampler
from pytest_isolate.running.report.records import Journal, OnEngine, RanTest, Reader, Waited
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.text import redact

# A wait that is shorter cannot be told from none.
_WORTH_TELLING_S = 0.005
_MOST_TEXT_CHARACTERS = 20_000


class Recording:
    """A pytest plugin object: the tests of this process, what they waited for, and in the controller the page.

    `used` tells the codes of the services that a test could use; `engine` is the run's, asked for when it has services.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        worker: str,
        clock: Clock,
        used: Callable[[pytest.Item], Iterable[str]],
        engine: Callable[[], Engine] | None,
    ) -> None:
        self._path = path
        self._folder = folder
        self._worker = worker
        self._clock = clock
        self._used = used
        self._began = clock.time()
        self._journal = Journal(folder, worker)
        self._recorder: Recorder | None = None
        self._sampler = Sampler(engine, clock, self._journal, Reader(folder)) if engine else None
        self._test = _Test("")
        self._is_written = False
        if self._sampler:
            self._sampler.start()

    def record(self, engine: Engine) -> Recorder:
        """The recorder of the containers that this process starts or uses."""
        facts = engine.facts()
        self._journal.write(OnEngine(name=f"{facts.name} {facts.version}"))
        self._recorder = Recorder(engine, self._clock, self._journal, self._worker, self._began)
        return self._recorder

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Note a test, with its set-up and tear-down."""
        self._test = _Test(item.nodeid)
        began = self._clock.time()
        try:
            return (yield)
        finally:
            self._journal.write(
                RanTest(
                    worker=self._worker,
                    test=item.nodeid,
                    began=began,
                    ended=self._clock.time(),
                    outcome=self._test.outcome,
                    codes=list(self._test.codes),
                    text=self._safe("\n".join(self._test.texts)),
                )
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note how a phase of it has ended."""
        report = yield
        self._test.note(report)
        # After the tear-down pytest no longer knows what the test asked for while it ran.
        if report.when == "call" or (report.when == "setup" and not report.passed):
            self._test.codes.update(dict.fromkeys(self._used(item)))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Note how long a test waits for a service or stack."""
        began = self._clock.time()
        try:
            return (yield)
        finally:
            ended = self._clock.time()
            if hasattr(fixturedef.func, DECLARATION) and ended - began >= _WORTH_TELLING_S:
                test, what = self._test.name, fixturedef.argname
                self._journal.write(Waited(worker=self._worker, test=test, what=what, began=began, ended=ended))

    def _safe(self, text: str) -> str:
        if len(text) > _MOST_TEXT_CHARACTERS:
            half = _MOST_TEXT_CHARACTERS // 2
            text = f"{text[:half]}\n... {len(text) - 2 * half:,} characters are left out here ...\n{text[-half:]}"
        return redact(text, self._recorder.secrets if self._recorder else ())

    @property
    def trouble(self) -> str:
        """The reason why the page lacks something that this process should have noted."""
        return self._journal.trouble

    def close_process(self, timeline: Timeline) -> None:
        """Look at all containers for the last time, before they are removed."""
        if self._sampler:
            self._sampler.stop()
        if self._recorder:
            self._recorder.close(timeline.spans)
            self._recorder = None

    def write_page(self, title: str, run_id: str) -> None:
        """In the controller, when all processes have ended: the page. OSError where it cannot be written."""
        if self._is_written or self._sampler is None:
            return
        self._sampler.stop()
        records = list(Reader(self._folder).read_new())
        engine = next((record.name for record in records if isinstance(record, OnEngine)), "")
        facts = RunFacts(
            title=title,
            run_id=run_id,
            engine=engine,
            began=min([self._began, *(r.began for r in records if isinstance(r, RanTest))]),
            ended=self._clock.time(),
            version=version("pytest-isolate-containers"),
        )
        new = self._path.with_name(f".{self._path.name}.new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(render(assemble(facts, records)), encoding="utf-8", errors="replace")
        os.replace(new, self._path)
        self._is_written = True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the path of the page."""
        if self._is_written:
            terminalreporter.write_line(f"isolate: report of this run: {self._path}")


class _Test:
    """The outcome of the test that runs now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcome = "passed"
        self.codes: dict[str, None] = {}
        self.texts: list[str] = []

    def note(self, report: pytest.TestReport) -> None:
        """Note the end of a phase. A set-up begins anew: where a test is run again, the last time counts."""
        if report.when == "setup":
            self.outcome, self.texts = "passed", []
        if report.failed:
            # Both a test and its tear-down may fail; the test's own failure is what it is about.
            self.outcome = "failed" if report.when == "call" or self.outcome == "failed" else "error"
            self.texts.append(report.longreprtext)
        elif report.skipped:
            self.outcome = "xfailed" if hasattr(report, "wasxfail") else "skipped"
        elif hasattr(report, "wasxfail") and report.when == "call":
            self.outcome = "xpassed"
