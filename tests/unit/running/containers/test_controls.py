"""ContainerControls: what is asked of the engine, in which order, and what undoes them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from pytest_isolate.engine.api import ContainerState, EngineFacts
from pytest_isolate.errors import FaultError, IsolateError
from pytest_isolate.running.containers.controls import ContainerControls
from pytest_isolate.running.faults.target import Target


class StubEngine:
    """A container that is paused, ended and started, and what was asked."""

    def __init__(self) -> None:
        self.state = ContainerState(is_running=True)
        self.calls: list[str] = []

    def facts(self) -> EngineFacts:
        return EngineFacts(name="Stub", version="1", address="stub://", is_local=True, machine="riscv64")

    def inspect_container(self, _: str) -> ContainerState:
        return self.state

    def pause_container(self, _: str) -> None:
        self._become("pause", ContainerState(is_running=True, is_paused=True))

    def unpause_container(self, _: str) -> None:
        self._become("unpause", ContainerState(is_running=True))

    def stop_container(self, _: str, timeout_s: int) -> None:
        self._become(f"stop {timeout_s}", ContainerState(is_running=False, exit_code=0))

    def kill_container(self, _: str) -> None:
        self._become("kill", ContainerState(is_running=False, exit_code=137))

    def start(self) -> None:
        self._become("start", ContainerState(is_running=True))

    def _become(self, call: str, state: ContainerState) -> None:
        self.calls.append(call)
        self.state = state


@pytest.fixture
def engine() -> StubEngine:
    return StubEngine()


@pytest.fixture
def faults(engine: StubEngine) -> ContainerControls:
    target = Target(
        service="db",
        engine=engine,
        container_id="c1",
        image="db:1",
        labels={},
        name_helper=lambda word: f"helper-{word}",
    )
    return ContainerControls(target, lambda: engine.calls.append("hold"), engine.start)


Begin = Callable[[ContainerControls], AbstractContextManager[None]]
ALL: dict[str, Begin] = {
    "paused": lambda faults: faults.paused(),
    "stopped": lambda faults: faults.stopped(3),
    "killed": lambda faults: faults.killed(),
    "disconnected": lambda faults: faults.disconnected(),
    "slowed down": lambda faults: faults.slow(latency=1, jitter=0, loss=0, rate=None),
}
DONE = {
    "paused": (["pause"], ["unpause"]),
    "stopped": (["hold", "stop 3"], ["start"]),
    "killed": (["hold", "kill"], ["start"]),
}


@pytest.mark.parametrize("name", DONE)
def test_a_fault_holds_for_its_block(engine: StubEngine, faults: ContainerControls, name: str) -> None:
    done, undone = DONE[name]
    with ALL[name](faults):
        assert engine.calls == done
    assert engine.calls == done + undone


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("name", DONE)
def test_it_is_undone_however_the_block_ends(
    engine: StubEngine, faults: ContainerControls, name: str, error: type[BaseException]
) -> None:
    with pytest.raises(error), ALL[name](faults):
        raise error
    assert engine.calls == [*DONE[name][0], *DONE[name][1]]


def test_an_interrupt_between_the_deed_and_the_block_undoes_it(engine: StubEngine, faults: ContainerControls) -> None:
    pause = engine.pause_container

    def pause_and_be_interrupted(container_id: str) -> None:
        pause(container_id)
        raise KeyboardInterrupt

    engine.pause_container = pause_and_be_interrupted
    with pytest.raises(KeyboardInterrupt), faults.paused():
        pytest.fail("it must not begin")
    assert engine.calls == ["pause", "unpause"]


@pytest.mark.parametrize("name", DONE)
def test_what_the_test_has_undone_itself_is_left_alone(
    engine: StubEngine, faults: ContainerControls, name: str
) -> None:
    with ALL[name](faults):
        engine.state = ContainerState(is_running=True)
    assert engine.calls == DONE[name][0]


@pytest.mark.parametrize("name", ALL)
def test_a_service_that_has_ended_cannot_be_given_a_fault(
    engine: StubEngine, faults: ContainerControls, name: str
) -> None:
    engine.state = ContainerState(is_running=False, exit_code=3)
    with pytest.raises(FaultError) as caught, ALL[name](faults):
        pytest.fail("it must not begin")
    assert engine.calls == []
    assert str(caught.value) == (
        f"service 'db' cannot be {name}, because it does not run\n"
        "  found  its container has exited with code 3\n"
        "  do     start() it first, or leave the block that has stopped it; logs() tells why it ended by itself"
    )


@pytest.mark.parametrize("name", ALL)
def test_a_paused_service_cannot_be_given_another_fault(
    engine: StubEngine, faults: ContainerControls, name: str
) -> None:
    with faults.paused():
        with pytest.raises(FaultError) as caught, ALL[name](faults):
            pytest.fail("it must not begin")
        assert engine.calls == ["pause"]
    assert engine.calls == ["pause", "unpause"]
    assert str(caught.value) == (
        f"service 'db' cannot be {name}, because it does not run\n"
        "  found  its container is paused\n"
        "  do     unpause() it first, or leave the block that has paused it"
    )


@pytest.mark.parametrize("name", ["disconnected", "slowed down"])
def test_a_machine_that_is_not_known_is_told(engine: StubEngine, faults: ContainerControls, name: str) -> None:
    with pytest.raises(FaultError) as caught, ALL[name](faults):
        pytest.fail("it must not begin")
    assert engine.calls == []
    assert str(caught.value) == (
        "service 'db' cannot be given a fault of its network here\n"
        "  found  the engine runs on riscv64\n"
        "  do     known are amd64, arm64; paused(), stopped() and killed() are everywhere"
    )


def test_a_wrong_value_is_told_before_the_block(faults: ContainerControls) -> None:
    with pytest.raises(IsolateError, match=r"slow\(latency='soon'\) cannot be understood"):
        faults.slow(latency="soon", jitter=0, loss=0, rate=None)
