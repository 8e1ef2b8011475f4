"""A port that the forwarder of a virtual machine lacks, told by a look into the container."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_isolate.engine.api import EngineFacts, ExecResult
from pytest_isolate.errors import EngineError, EngineUnreachable
from pytest_isolate.running.readiness.forwarder import ForwarderCheck
from pytest_isolate.running.readiness.listeners import find_listeners
from unit.builders import FakeClock

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ON_ALL = "   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 0 0 1 1\n"
ON_ALL_6 = (
    "   0: 00000000000000000000000000000000:1F41 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0\n"
)
ON_LOOPBACK = ON_ALL.replace("00000000:1F40", "0100007F:1F42")
ON_LOOPBACK_6 = ON_ALL_6.replace("0" * 32 + ":1F41", "0" * 24 + "01000000:1F43")
CONNECTED = ON_ALL.replace(" 0A ", " 01 ").replace("1F40", "1F44")


class Container:
    """An engine with one container, in which a command says this."""

    def __init__(self, says: str | EngineError, *, shares_kernel: bool = False) -> None:
        self.says = says
        self.asked = 0
        self._shares_kernel = shares_kernel

    def facts(self) -> EngineFacts:
        return EngineFacts(name="", version="", address="", is_local=True, shares_kernel=self._shares_kernel)

    def read_connections(self, container_id: str) -> None:
        """Nothing: the containers of another kernel are not seen."""

    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult:
        self.asked += 1
        if isinstance(self.says, EngineError):
            raise self.says
        return ExecResult(exit_code=1, stdout=self.says, stderr="cat: /proc/net/tcp6: No such file or directory")


def explain(container: Container, *, after_s: float = 5, reason: str = "connection refused") -> str:
    clock = FakeClock()
    check = ForwarderCheck(container, "c", clock.now)
    clock.seconds += after_s
    return "\n".join(check.explain({8000: "127.0.0.1:40087"}, reason))


def test_what_answers_inside_and_not_here_is_the_forwarders() -> None:
    assert explain(Container(HEAD + ON_ALL)) == (
        "the container answers inside, on port 8000; 127.0.0.1:40087 does not: the forwarder of your virtual machine "
        "may lack it"
    )


@pytest.mark.parametrize("reason", ["connection closed at once", "no answer", "connection reset by peer", "timed out"])
def test_a_forwarder_may_be_silent_too(reason: str) -> None:
    assert "may lack it" in explain(Container(HEAD + ON_ALL), reason=reason)


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        pytest.param(Container(HEAD), "connection refused", id="nothing listens"),
        pytest.param(Container(HEAD + ON_LOOPBACK), "connection refused", id="on another port"),
        pytest.param(Container(HEAD + ON_ALL), "status 503", id="it was reached"),
        pytest.param(Container(HEAD + ON_ALL, shares_kernel=True), "connection refused", id="there is no forwarder"),
    ],
)
def test_nothing_is_said_of_a_forwarder_where_nothing_points_to_one(container: Container, reason: str) -> None:
    assert explain(container, reason=reason) == ""


def test_the_log_is_pointed_to_where_a_container_cannot_be_looked_into() -> None:
    told = explain(Container(EngineError("no such program")))
    assert told == (
        "127.0.0.1:40087 does not answer: if its log says that it is ready, the forwarder of your virtual machine may "
        "lack it"
    )


def test_an_engine_that_went_away_is_no_container_without_programs() -> None:
    with pytest.raises(EngineUnreachable):
        explain(Container(EngineUnreachable("gone")))


def test_a_container_is_looked_into_after_five_seconds_and_every_five() -> None:
    container, clock = Container(HEAD), FakeClock()
    check = ForwarderCheck(container, "c", clock.now)
    looks = []
    for _ in range(11):
        check.explain({8000: "127.0.0.1:40087"}, "connection refused")
        looks.append(container.asked)
        clock.seconds += 1
    assert looks == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2]


def test_only_what_others_reach_counts_as_listening() -> None:
    container = Container(HEAD + ON_ALL + ON_LOOPBACK + CONNECTED + HEAD + ON_ALL_6 + ON_LOOPBACK_6)
    assert find_listeners("c", container) == {8000, 8001}
    assert find_listeners("c", Container("")) is None


def test_of_several_ports_those_are_named_that_answer_inside() -> None:
    clock = FakeClock()
    check = ForwarderCheck(Container(HEAD + ON_ALL + ON_ALL_6), "c", clock.now)
    clock.seconds += 5
    told = check.explain({8000: "127.0.0.1:1", 8001: "127.0.0.1:2", 8002: "127.0.0.1:3"}, "port 8000: no answer, ...")
    assert [line.partition(": ")[0] for line in told] == [
        "the container answers inside, on port 8000; 127.0.0.1:1 does not",
        "the container answers inside, on port 8001; 127.0.0.1:2 does not",
    ]
