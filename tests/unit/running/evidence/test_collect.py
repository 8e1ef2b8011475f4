"""What is asked of the engine when a test has failed, and how long it is waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_isolate.engine.api import ContainerState, EngineFacts, LogLine
from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.errors import EngineError, EngineUnreachable, ObjectNotFound
from pytest_isolate.model.service import Scope
from pytest_isolate.planning.placement import InstanceKey, Place
from pytest_isolate.running.evidence.collect import LATE_S, EvidenceCollector, ServiceUse
from unit.builders import FakeClock, sid

BEGAN = [("setup", 100.0), ("call", 101.0)]


class Engine:
    """A container's state and log; an error where one is set."""

    def __init__(self) -> None:
        self.lines = [LogLine(50, "up"), LogLine(100.01, "first"), LogLine(101.5, "with s3cret")]
        self.error: Exception | None = None
        self.asked: list[str] = []

    def facts(self) -> EngineFacts:
        return EngineFacts(name="Docker", version="20.10", address="unix:///engine", is_local=True)

    def inspect_container(self, container_id: str) -> ContainerState:
        self.asked.append(f"inspect {container_id}")
        if self.error:
            raise self.error
        return ContainerState(is_running=True, name="box", started_at=40)

    commands = DockerCommands()

    def read_log_lines(self, container_id: str, since: float) -> list[LogLine]:
        self.asked.append(f"read {container_id} {since:g}")
        return [line for line in self.lines if line.when >= since]


def running(name: str = "db", scope: Scope = Scope.SESSION) -> Any:
    key = InstanceKey(sid(name), Place(scope, "t" if scope is Scope.FUNCTION else ""), "f")
    return SimpleNamespace(
        instance=SimpleNamespace(key=key),
        container_id=name,
        started_at=40.0,
        secrets=("s3cret",),
        domain=SimpleNamespace(is_kept=False),
    )


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def evidence_collector(engine: Engine, clock: FakeClock) -> EvidenceCollector:
    return EvidenceCollector(engine, clock, lambda key, since: [f"other of {key.service} since {since:g}"])  # type: ignore[arg-type]


def texts(found: Any) -> list[tuple[str, list[str]]]:
    return [(part.phase, [line.text for line in (*part.first, *part.last)]) for part in found.parts]


def test_state_comes_before_the_log_whose_end_it_promises(
    engine: Engine, evidence_collector: EvidenceCollector
) -> None:
    (found,) = evidence_collector.examine([running()], BEGAN, 200, is_first=True)
    assert engine.asked == ["inspect db", "read db 100"]
    assert (found.service, found.container, found.state) == ("db", "box", "running")
    assert texts(found) == [("setup", ["first"]), ("call", ["with ***"])]
    assert found.others == ("other of db since 99.85",)


def test_what_is_written_later_is_left_to_the_next_report(evidence_collector: EvidenceCollector) -> None:
    (found,) = evidence_collector.examine([running()], BEGAN, 101.5, is_first=True)
    assert texts(found) == [("setup", ["first"])]
    (later,) = evidence_collector.examine([running()], [("call", 101.5)], 200, is_first=False)
    assert texts(later) == [("call", ["with ***"])]


def test_a_service_of_one_test_is_read_from_its_start(engine: Engine, evidence_collector: EvidenceCollector) -> None:
    (found,) = evidence_collector.examine([running(scope=Scope.FUNCTION)], BEGAN, 200, is_first=True)
    assert texts(found)[0] == ("start", ["up"])
    (again,) = evidence_collector.examine([running(scope=Scope.FUNCTION)], [("teardown", 101.2)], 200, is_first=False)
    assert texts(again) == [("teardown", ["with ***"])]


@pytest.mark.parametrize(
    ("ended", "is_settled", "told"),
    [(99.99, False, True), (99.99, True, False), (99.0, False, False)],
    ids=["late", "settled", "long ago"],
)
def test_a_test_that_ended_shortly_before_is_named(
    evidence_collector: EvidenceCollector, ended: float, is_settled: bool, told: bool
) -> None:
    evidence_collector.note_use([running().instance.key], ServiceUse(test="test_a", ended=ended, is_settled=is_settled))
    (found,) = evidence_collector.examine([running()], BEGAN, 200, is_first=True)
    assert found.before == ("test_a used it until 10 ms before: first lines may be its last" if told else "")


def test_all_tests_that_ended_shortly_before_are_named(evidence_collector: EvidenceCollector) -> None:
    uses = [("long_ago", 99.8, False), ("earlier", 99.9, False), ("last", 99.99, False)]
    for test, ended, is_settled in uses:
        evidence_collector.note_use([running().instance.key], ServiceUse(test=test, ended=ended, is_settled=is_settled))
    (found,) = evidence_collector.examine([running()], BEGAN, 200, is_first=True)
    assert found.before == "last used it until 10 ms before, earlier until 100 ms before: first lines may be their last"


def test_who_waited_for_its_lines_did_so_for_those_before(evidence_collector: EvidenceCollector) -> None:
    for test, ended, is_settled in [("earlier", 99.9, False), ("settled", 99.99, True)]:
        evidence_collector.note_use([running().instance.key], ServiceUse(test=test, ended=ended, is_settled=is_settled))
    (found,) = evidence_collector.examine([running()], BEGAN, 200, is_first=True)
    assert found.before == ""


def test_lines_that_are_late_are_waited_for_once(evidence_collector: EvidenceCollector, clock: FakeClock) -> None:
    now = clock.time()
    assert evidence_collector.wait_for_late_lines(now)
    assert clock.pauses == [pytest.approx(LATE_S)]
    assert evidence_collector.wait_for_late_lines(now)
    assert len(clock.pauses) == 1


def test_where_hundreds_fail_most_wait_no_more(evidence_collector: EvidenceCollector, clock: FakeClock) -> None:
    settled = [evidence_collector.wait_for_late_lines(clock.time()) for _ in range(1000)]
    assert settled.count(True) == pytest.approx(200, abs=2)
    assert sum(clock.pauses) <= 30


@pytest.mark.parametrize(
    ("error", "asked", "state"),
    [
        (ObjectNotFound("no such container"), 2, "not known: its container is gone"),
        (EngineError("it could not be inspected"), 2, "not known: it could not be inspected"),
        (EngineUnreachable("no answer"), 1, "not known: no answer"),
    ],
)
def test_an_engine_that_refuses_is_told(
    engine: Engine, evidence_collector: EvidenceCollector, error: Exception, asked: int, state: str
) -> None:
    engine.error = error
    found = evidence_collector.examine([running("db"), running("web")], BEGAN, 200, is_first=True)
    assert [f.state for f in found] == [state] * asked
    assert len(engine.asked) == asked
