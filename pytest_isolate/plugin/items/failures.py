"""Sections on services in the reports of failed tests. Of a test that passes only its times are noted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from pytest_isolate.errors import IsolateError, StartError
from pytest_isolate.planning.placement import Instance, InstanceKey
from pytest_isolate.plugin.run.wiring import Wired
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.running import instance_hash
from pytest_isolate.running.evidence.collect import EvidenceCollector, ServiceUse
from pytest_isolate.running.evidence.render import Evidence, clip_phases, render, section_title
from pytest_isolate.running.evidence.stored_log import StoredLog
from pytest_isolate.sharing.usage_log import UsageLog

UsedInstances = Callable[[], Sequence[Instance]]
_STARTED = "isolate_start"
# What ends the run, and what is no failure.
_NO_FAILURES = (KeyboardInterrupt, SystemExit, GeneratorExit, pytest.exit.Exception, pytest.skip.Exception)


class Failures:
    """The test that runs now: when its phases began, and what is told of its services when one of them fails.

    `uses` is there where other processes may use the same services at the same time.
    """

    def __init__(self, clock: Clock, artifacts: Path | None) -> None:
        self._clock = clock
        self._artifacts = artifacts
        self._evidence_collector: EvidenceCollector | None = None
        self._uses: UsageLog | None = None
        self._test = ""
        self._began: list[tuple[str, float]] = []
        self._used: UsedInstances = tuple
        self._planned: Sequence[Instance] = ()
        self._is_noted = False
        self.has_failed = False
        self._untold: list[Evidence] = []
        self._secured: list[str] = []
        self._secured_until = self._told_until = 0.0
        self._is_settled = False
        # Several resets at once may fail, each in a thread of its own.
        self._lock = threading.Lock()

    def connect(self, wired: Wired, folder: Path, process: str) -> None:
        """Examine services on this engine from here on; `process` names this one where the run has several."""
        self._uses = UsageLog(folder, process) if process else None
        self._wired = wired
        self._evidence_collector = EvidenceCollector(wired.engine, self._clock, self._find_others)

    def close(self) -> None:
        """Examine nothing more."""
        self._evidence_collector = None
        if self._uses:
            self._uses.close()

    def begin(self, test: str, used: UsedInstances, planned: Sequence[Instance]) -> None:
        """Begin a test's set-up; `used` says later what it has used, as far as it is known by then."""
        self._test, self._used, self.has_failed, self._is_settled = test, used, False, False
        self._untold, self._secured, self._told_until = [], [], 0.0
        self._planned = planned
        codes = [instance_hash(i.key) for i in planned if _is_shared(i.key)] if self._uses else []
        self._is_noted = bool(codes)
        self._began = [("setup", self._clock.time())]
        if self._uses and codes:
            self._uses.begin(self._began[0][1], test, codes)

    def enter(self, phase: str) -> None:
        """Begin the next phase."""
        self._began.append((phase, self._clock.time()))

    @contextmanager
    def teardown(self) -> Iterator[None]:
        """Examine, around the tear-down and its resets, before what the test had for itself is removed."""
        self.enter("teardown")
        try:
            yield
        except BaseException as error:
            self.has_failed |= not isinstance(error, _NO_FAILURES)
            raise
        finally:
            self._end()

    def _end(self) -> None:
        if self.has_failed:
            self.secure()
        if self._evidence_collector is None:
            return
        ended = self._clock.time()
        use = ServiceUse(test=self._test, ended=ended, is_settled=self._is_settled)
        self._evidence_collector.note_use([instance.key for instance in self._planned], use)
        if self._uses and self._is_noted:
            self._uses.end(ended)

    def secure(self) -> None:
        """Read what is not told yet, while the containers are there; what is read is told with the next report."""
        self.has_failed = True
        with self._lock:
            if self._evidence_collector is None or self._secured:
                return
            ready = {running.instance.key: running for running in self._wired.lifecycle.ready()}
            used = [ready[instance.key] for instance in self._used() if instance.key in ready]
            self._is_settled = self._evidence_collector.wait_for_late_lines(self._clock.time()) if used else True
            until, phases = self._clock.time(), clip_phases(self._began, self._told_until)
            is_first = not self._told_until
            store = partial(StoredLog, self._artifacts, self._test, is_new=is_first) if self._artifacts else None
            found = self._evidence_collector.examine(used, phases, until, is_first=is_first, store=store)
            self._untold = [replace(evidence, is_settled=self._is_settled) for evidence in found]
            self._secured, self._secured_until = [phase for phase, _ in phases], until

    def tell(self, report: pytest.TestReport, item: pytest.Item) -> None:
        """Add to a report what its test's services say that explains it; a test may have several, as of subtests."""
        if report.failed and report.when != "teardown":
            self.secure()
        if not self.has_failed or not self._secured:
            return
        for evidence in self._untold:
            # Of a tear-down without a word nothing is told, where the test itself has failed.
            if not self._told_until or report.failed or evidence.parts:
                self._tell(report, item, evidence)
        self._untold, self._secured, self._told_until = [], [], self._secured_until

    def _tell(self, report: pytest.TestReport, item: pytest.Item, evidence: Evidence) -> None:
        is_first = not self._told_until
        wrote = {part.phase for part in evidence.parts}
        phases = [phase for phase in self._secured if is_first or phase in wrote or phase == self._secured[-1]]
        report.sections.append((section_title(evidence, phases), "\n".join(render(evidence))))
        facts = {"service": evidence.service, "state": evidence.state, "container": evidence.container}
        facts |= {"log": evidence.stored} if evidence.stored else {}
        _add_facts(report, {**facts, "lines": evidence.count})
        properties = [(f"isolate.{evidence.service}.{key}", value) for key, value in facts.items() if key != "service"]
        # JUnit XML takes them from the last report, whose own are a copy of the item's.
        known = {name for name, _ in item.user_properties}
        new = [(name, value) for name, value in properties if name not in known]
        item.user_properties += new
        report.user_properties += new

    def _find_others(self, key: InstanceKey, since: float) -> list[str]:
        return self._uses.others(instance_hash(key), since) if self._uses and _is_shared(key) else []


def _is_shared(key: InstanceKey) -> bool:
    return not key.place.node and not key.place.worker


def as_failure(error: IsolateError) -> BaseException:
    """An error as it fails a test: without the traceback, which is ours. pytest may raise it for several tests."""
    failure = pytest.fail.Exception(str(error), pytrace=False)
    if isinstance(error, StartError):
        state = str(error).splitlines()[0].removeprefix(f"service {error.service} ")
        setattr(failure, _STARTED, (error.service, state))
    return failure


def note_failed_start(report: pytest.TestReport, error: BaseException | None) -> None:
    """Note with a report which service it was that did not start, and why."""
    if hasattr(error, _STARTED):
        service, state = getattr(error, _STARTED)
        _add_facts(report, {"service": service, "state": state, "lines": 0})


def _add_facts(report: pytest.TestReport, facts: dict[str, object]) -> None:
    # Reports may carry more than pytest's own; xdist brings it along.
    report.__dict__.setdefault("isolate_services", []).append(facts)
