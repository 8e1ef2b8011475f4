"""What is said where the kernel or the engine does not let a container's network be changed."""

from __future__ import annotations

import struct

import pytest
from waiting import wait_for

from pytest_isolate.engine.api import ContainerRequest, ContainerState, EngineFacts
from pytest_isolate.errors import EngineError, FaultError
from pytest_isolate.running.faults.network import Target, open_filter, open_network, tell
from pytest_isolate.running.faults.remote_syscalls import Reply


class Refusing:
    """Calls whose results are given; what a refused message is answered with is an acknowledgement of netlink."""

    content_at = 0

    def __init__(self, result: int, error: int = 0) -> None:
        self._result = result
        self.sent: list[bytes] = []
        self._acknowledged = struct.pack("<IHHIIi", 36, 2, 0, 1, 0, -error).ljust(36, b"\0")

    def ask(self, *_: object, content: bytes = b"") -> Reply:
        self.sent.append(content)
        return Reply(self._result or len(content), b"")

    def receive_now(self, _: int) -> Reply:
        return Reply(len(self._acknowledged), self._acknowledged)


class Engine:
    """An engine that makes a container and cannot start it."""

    def __init__(self) -> None:
        self.requests: list[ContainerRequest] = []
        self.removed: list[str] = []

    def facts(self) -> EngineFacts:
        return EngineFacts(name="Stub", version="1", address="stub://", is_local=True, machine="amd64")

    def inspect_container(self, _: str) -> ContainerState:
        return ContainerState(is_running=True, volumes={"v1": "/data"})

    def create_container(self, request: ContainerRequest) -> str:
        self.requests.append(request)
        return "h1"

    def copy_into(self, *_: object) -> None:
        pass

    def start_container(self, _: str) -> None:
        raise EngineError("a container could not be started", found="no")

    def remove_container(self, container_id: str) -> None:
        self.removed.append(container_id)


def target(engine: Engine | None = None) -> Target:
    return Target(
        service="db",
        engine=engine or Engine(),
        container_id="c1",
        image="db:1",
        labels={"run": "r"},
        name_helper="helper-{}".format,
    )


@pytest.mark.parametrize("error", [2, 95])
def test_a_kernel_without_what_it_takes_is_told(error: int) -> None:
    with pytest.raises(FaultError) as caught:
        tell(target(), Refusing(0, error), 3, [b"message"])
    what, tried, found, do = str(caught.value).splitlines()
    assert what == "service 'db' cannot be given a fault of its network here"
    assert tried == "  tried  nf_tables, in the network of its container"
    assert found.startswith("  found  the kernel says: ")
    assert do == "  do     that takes Linux 5.12 or newer with nf_tables, nft_compat and nfnetlink_queue"


def test_a_lack_of_rights_is_told() -> None:
    with pytest.raises(FaultError) as caught:
        open_filter(target(), Refusing(-1))
    assert str(caught.value).splitlines()[-2:] == [
        "  found  the kernel says: Operation not permitted",
        "  do     paused(), stopped() and killed() need no rights of this kind",
    ]


def test_what_is_done_is_no_error() -> None:
    calls = Refusing(0)
    tell(target(), calls, 3, [b"message", b"another"])
    assert calls.sent == [b"message", b"another"]


def test_a_helper_that_does_not_start_is_removed() -> None:
    engine = Engine()
    with pytest.raises(EngineError, match="could not be started"), open_network(target(engine)):
        pytest.fail("it must not begin")
    assert wait_for(lambda: engine.removed) == ["h1"]


def test_a_helper_has_no_right_but_one_and_the_services_own_volumes() -> None:
    engine = Engine()
    with pytest.raises(EngineError), open_network(target(engine)):
        pytest.fail("it must not begin")
    (request,) = engine.requests
    assert (request.cap_drop, request.cap_add, request.no_new_privileges) == (("ALL",), ("NET_ADMIN",), True)
    assert (request.image, request.joined, request.volumes) == ("db:1", "c1", {"v1": "/data"})
    assert request.name.startswith("helper-")
    assert request.labels == {"run": "r"}
