"""Ports after a check: one has to answer, further ones get some time."""

from __future__ import annotations

import pytest

from pytest_isolate.model.probes import Answer, NotYet, Ports, Ready, Tcp
from pytest_isolate.running.readiness.port_questions import FURTHER_PORTS_S, PortQuestions
from unit.builders import FakeClock

REFUSED = NotYet("connection refused")


class Service:
    """Ports that answer from the second on that is given for each."""

    def __init__(self, clock: FakeClock, **ready_after: float) -> None:
        self.clock = clock
        self.ready_after = {int(name.removeprefix("port")): after for name, after in ready_after.items()}
        self.asked: list[int] = []
        self.questions = PortQuestions(self.answer, clock.now)

    def answer(self, probe: Tcp) -> Answer:
        assert probe.port
        self.asked.append(probe.port)
        return Ready() if self.clock.seconds >= 1000 + self.ready_after[probe.port] else REFUSED

    def ask_after(self, seconds: float) -> Answer:
        self.clock.seconds = 1000 + seconds
        return self.questions.ask(Ports(ports=tuple(self.ready_after)))


def test_all_ports_that_answer_are_ready_at_once(clock: FakeClock) -> None:
    service = Service(clock, port1=0, port2=0)

    assert service.ask_after(0) == Ready()
    assert service.questions.silent == {}


def test_no_time_is_enough_where_no_port_answers(clock: FakeClock) -> None:
    service = Service(clock, port1=99, port2=99)
    service.ask_after(0)

    assert service.ask_after(50) == NotYet("port 1: connection refused, port 2: connection refused")


def test_further_ports_have_their_time_from_the_first_answer_on(clock: FakeClock) -> None:
    service = Service(clock, port1=99, port2=10)
    service.ask_after(0)

    assert service.ask_after(10) == NotYet("port 1: connection refused")
    assert service.ask_after(10 + FURTHER_PORTS_S - 0.1) == NotYet("port 1: connection refused")
    assert service.ask_after(10 + FURTHER_PORTS_S) == Ready()
    assert service.questions.silent == {1: "connection refused"}


def test_a_port_that_comes_later_is_waited_for_and_not_told(clock: FakeClock) -> None:
    service = Service(clock, port1=2, port2=0)
    service.ask_after(0)

    assert service.ask_after(2) == Ready()
    assert service.questions.silent == {}
    assert service.asked == [1, 2, 1]


def test_nothing_is_asked_where_there_are_no_ports(clock: FakeClock) -> None:
    assert Service(clock).ask_after(0) == Ready()


@pytest.mark.parametrize(("ports", "text"), [((80,), "tcp port 80"), ((80, 81), "tcp port 80, 81")])
def test_its_text_names_the_ports(ports: tuple[int, ...], text: str) -> None:
    assert str(Ports(ports=ports)) == text
