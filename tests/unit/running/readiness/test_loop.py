"""The polling loop, with a clock that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.errors import EngineUnreachable
from pytest_isolate.model.probes import Answer, Command, Dead, Http, Log, NotYet, Probe, Ready, Tcp
from pytest_isolate.running.readiness.loop import Outcome, wait_until_ready
from unit.builders import FakeClock

NEVER = NotYet("connection refused")


class Service:
    """Answers each probe from the moment on that is given for it, on a fake clock; may die."""

    def __init__(self, clock: FakeClock, ready_after: dict[Probe, float], dies_after: float | None = None) -> None:
        self.clock = clock
        self.started = clock.now()
        self.ready_after = ready_after
        self.dies_after = dies_after
        self.died = threading.Event()
        self.asked: list[Probe] = []
        clock.after = self.notice_time

    def notice_time(self, now: float) -> None:
        if self.dies_after is not None and now - self.started >= self.dies_after:
            self.died.set()

    def ask(self, probe: Probe) -> Answer:
        self.asked.append(probe)
        waited = self.clock.now() - self.started
        return Ready() if waited >= self.ready_after.get(probe, float("inf")) else NEVER

    def wait(self, timeout_s: float = 60.0, ask: Callable[[Probe], Answer] | None = None) -> Outcome:
        return wait_until_ready(
            list(self.ready_after),
            ask=ask or self.ask,
            died=self.died,
            read_exit=lambda: Dead("container exited with code 1"),
            clock=self.clock,
            timeout_s=timeout_s,
        )


def test_who_is_ready_at_once_is_asked_once(clock: FakeClock) -> None:
    service = Service(clock, {Tcp(): 0})

    assert service.wait() == Outcome(answer=Ready(), probe=None, asked=1, waited_s=0)
    assert clock.pauses == []


def test_without_probes_nothing_is_waited_for(clock: FakeClock) -> None:
    assert Service(clock, {}).wait() == Outcome(answer=Ready(), probe=None, asked=0, waited_s=0)


def test_pauses_grow_from_a_few_milliseconds_to_a_limit(clock: FakeClock) -> None:
    Service(clock, {Tcp(): 1}).wait()

    assert clock.pauses[0] == pytest.approx(0.005)
    assert clock.pauses == sorted(clock.pauses)
    assert max(clock.pauses) == pytest.approx(0.025)


@pytest.mark.parametrize("probe", [Command(argv=("x",)), Log(pattern="x")], ids=["command", "log"])
def test_what_costs_the_engine_is_asked_rarely(clock: FakeClock, probe: Probe) -> None:
    outcome = Service(clock, {probe: 10}).wait()

    assert max(clock.pauses) == pytest.approx(0.2)
    assert outcome.asked < 75


@pytest.mark.parametrize(
    ("probe", "dear"), [(Tcp(), False), (Http(), False), (Log(pattern="x"), True), (Command(argv=("x",)), True)]
)
def test_what_goes_through_the_engine_is_dear(probe: Probe, dear: bool) -> None:
    assert probe.is_expensive is dear


@given(st.floats(0, 20))
def test_readiness_is_noticed_within_one_pause(after_s: float) -> None:
    outcome = Service(FakeClock(), {Tcp(): after_s}).wait()

    assert after_s <= outcome.waited_s <= after_s + 0.026


def test_the_deadline_ends_the_wait_and_says_what_was_asked(clock: FakeClock) -> None:
    service = Service(clock, {Tcp(): 99})

    outcome = service.wait(timeout_s=30)

    assert outcome.answer == NEVER
    assert outcome.probe == Tcp()
    assert outcome.asked == len(service.asked) > 30 / 0.026
    assert outcome.waited_s == pytest.approx(30)


@given(st.floats(0.001, 5))
def test_the_deadline_is_not_overrun(timeout_s: float) -> None:
    clock = FakeClock()

    Service(clock, {Command(argv=("x",)): 99}).wait(timeout_s)

    assert sum(clock.pauses) == pytest.approx(timeout_s)


def test_who_gets_ready_at_the_very_end_is_ready(clock: FakeClock) -> None:
    assert Service(clock, {Tcp(): 30 - 1e-6}).wait(timeout_s=30).answer == Ready()


def test_a_dead_container_ends_the_wait_at_once(clock: FakeClock) -> None:
    outcome = Service(clock, {Tcp(): 99}, dies_after=2).wait()

    assert outcome.answer == Dead("container exited with code 1")
    assert outcome.waited_s <= 2.026


def test_a_container_that_was_dead_before_is_found_out_at_the_first_question(clock: FakeClock) -> None:
    service = Service(clock, {Tcp(): 99})
    service.died.set()

    assert service.wait() == Outcome(answer=Dead("container exited with code 1"), probe=Tcp(), asked=1, waited_s=0)


def test_an_answer_of_a_dead_container_does_not_count(clock: FakeClock) -> None:
    service = Service(clock, {Tcp(): 0})
    service.died.set()

    assert isinstance(service.wait().answer, Dead)


def test_probes_are_asked_in_their_order_each_until_it_is_ready(clock: FakeClock) -> None:
    service = Service(clock, {Tcp(port=2): 0.02, Tcp(port=1): 0.5, Http(): 0})

    outcome = service.wait()

    assert list(dict.fromkeys(service.asked)) == [Tcp(port=2), Tcp(port=1), Http()]
    assert service.asked == sorted(service.asked, key=[Tcp(port=2), Tcp(port=1), Http()].index)
    assert outcome.asked == len(service.asked)


def test_a_second_probe_is_asked_quickly_again(clock: FakeClock) -> None:
    Service(clock, {Tcp(port=1): 1, Tcp(port=2): 2}).wait()

    assert clock.pauses.count(0.005) == 2


def test_all_probes_share_one_deadline(clock: FakeClock) -> None:
    outcome = Service(clock, {Tcp(port=1): 20, Tcp(port=2): 99}).wait(timeout_s=30)

    assert outcome.probe == Tcp(port=2)
    assert outcome.waited_s == pytest.approx(30)


def test_a_question_that_fails_ends_the_wait(clock: FakeClock) -> None:
    def ask(_: Probe) -> Answer:
        raise EngineUnreachable("gone")

    with pytest.raises(EngineUnreachable):
        Service(clock, {Tcp(): 0}).wait(ask=ask)


def test_the_end_of_an_earlier_life_is_not_the_end_of_this_one(clock: FakeClock) -> None:
    died = threading.Event()
    died.set()

    outcome = wait_until_ready(
        [Tcp()],
        ask=lambda _: Ready() if clock.now() > 1001 else NEVER,
        died=died,
        read_exit=lambda: None,
        clock=clock,
        timeout_s=30,
    )

    assert outcome.answer == Ready()
    assert not died.is_set()
