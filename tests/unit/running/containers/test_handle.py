"""What tests are handed."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest

from pytest_isolate.engine.api import BinaryExecResult, EngineFacts, ExecResult
from pytest_isolate.errors import ExecError, IsolateError
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.probes import Http
from pytest_isolate.running.containers.controls import ContainerControls
from pytest_isolate.running.containers.handle import Service, Stack
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.faults.target import Target
from unit.builders import spec


class StubEngine:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.result = ExecResult(exit_code=0, stdout="out", stderr="")

    def facts(self) -> EngineFacts:
        return EngineFacts(name="Stub", version="1", address="stub://", is_local=True)

    def read_logs(self, container_id: str, *, tail: int | None = None) -> str:
        self.calls.append(("logs", container_id, *([] if tail is None else [tail])))
        return "a line\n"

    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult:
        self.calls.append(("exec", container_id, *argv))
        return self.result

    def run_binary_command(self, container_id: str, argv: Sequence[str]) -> BinaryExecResult:
        self.calls.append(("exec binary", container_id, *argv))
        return BinaryExecResult(exit_code=self.result.exit_code, stdout=b"\xff\x00\r\n", stderr=b"\xffno")

    def stop_container(self, container_id: str, timeout_s: int) -> None:
        self.calls.append(("stop", container_id, timeout_s))

    def kill_container(self, container_id: str) -> None:
        self.calls.append(("kill", container_id))

    def pause_container(self, container_id: str) -> None:
        self.calls.append(("pause", container_id))

    def unpause_container(self, container_id: str) -> None:
        self.calls.append(("unpause", container_id))


@pytest.fixture
def engine() -> StubEngine:
    return StubEngine()


def make(engine: StubEngine, name: str = "auth", **values: object) -> Service:
    values = {"ports": (8000, 9000), "ready": (Http(),), **values}
    endpoints = {port: Endpoint("127.0.0.1", 40000 + port) for port in values["ports"]}
    endpoints |= {port: Endpoint("127.0.0.1", 30000) for port in values.get("udp_ports", ())}
    view = ServiceView(spec=spec(name, **values), password="s3", endpoints=endpoints, env={"A": "1"})
    target = Target(
        service=name, engine=engine, container_id="c1", image="auth:1", labels={}, name_helper=lambda word: word
    )
    hold, start = ("hold", "c1"), ("start", "c1")
    controls = ContainerControls(target, lambda: engine.calls.append(hold), lambda: engine.calls.append(start))
    return Service(view, controls, image="auth:1", container_id="c1")


@pytest.fixture
def service(engine: StubEngine) -> Service:
    return make(engine, user="app", database="d")


def test_a_service_knows_where_a_test_reaches_it(service: Service) -> None:
    assert (service.host, service.port, service.address) == ("127.0.0.1", 48000, "127.0.0.1:48000")
    assert service.url == "http://127.0.0.1:48000"


def test_a_service_knows_where_its_neighbours_reach_it(service: Service) -> None:
    inside = service.inside

    assert (inside.host, inside.port, inside.address) == ("auth", 8000, "auth:8000")
    assert inside.url == "http://auth:8000"


def test_each_of_its_ports_is_published(service: Service) -> None:
    assert (service.port_of(8000), service.port_of(9000)) == (48000, 49000)


def test_a_port_that_it_does_not_declare_is_refused(service: Service) -> None:
    with pytest.raises(IsolateError) as caught:
        service.port_of(25)

    assert str(caught.value) == (
        "service 'auth' publishes no port 25\n  found  declared ports: 8000, 9000\n  do     declare it: ports=[..., 25]"
    )


@pytest.mark.parametrize("name", ["host", "port", "address", "url"])
def test_without_ports_it_has_no_address(engine: StubEngine, name: str) -> None:
    with pytest.raises(IsolateError) as caught:
        getattr(make(engine, ports=()), name)

    assert str(caught.value) == (
        "service 'auth' declares no port, so it has no address\n  do     declare port=... (in a Compose file: expose)"
    )


def test_without_ports_it_still_has_a_name_inside(engine: StubEngine) -> None:
    assert make(engine, ports=()).inside.host == "auth"


def test_a_service_knows_what_it_was_given(service: Service) -> None:
    assert (service.name, service.image, service.container_id) == ("auth", "auth:1", "c1")
    assert (service.user, service.password, service.database) == ("app", "s3", "d")
    assert service.env == {"A": "1"}


def test_its_environment_cannot_be_changed_from_outside(service: Service) -> None:
    dict(service.env)["A"] = "2"
    service.env.update({"A": "3"})

    assert service.env == {"A": "1"}


def test_it_shows_itself_without_its_password(service: Service) -> None:
    assert repr(service) == "<Service 'auth' (auth:1) at 127.0.0.1:48000>"


def test_without_ports_it_shows_no_address(engine: StubEngine) -> None:
    assert repr(make(engine, ports=())) == "<Service 'auth' (auth:1)>"


def test_its_log_and_its_life_are_the_engines_business(service: Service, engine: StubEngine) -> None:
    assert service.logs() == service.logs(tail=3) == "a line\n"
    service.stop()
    service.start()
    service.restart(timeout_s=1)
    service.kill()
    service.pause()
    service.unpause()

    assert engine.calls == [
        ("logs", "c1"),
        ("logs", "c1", 3),
        ("hold", "c1"),
        ("stop", "c1", 10),
        ("start", "c1"),
        ("hold", "c1"),
        ("stop", "c1", 1),
        ("start", "c1"),
        ("hold", "c1"),
        ("kill", "c1"),
        ("pause", "c1"),
        ("unpause", "c1"),
    ]


def test_a_command_gives_its_result(service: Service, engine: StubEngine) -> None:
    assert service.exec("ls", "-l").stdout == "out"
    assert engine.calls == [("exec", "c1", "ls", "-l")]


def test_a_command_gives_its_output_byte_for_byte_on_request(service: Service, engine: StubEngine) -> None:
    assert service.exec("cat", "x", binary=True).stdout == b"\xff\x00\r\n"
    assert engine.calls == [("exec binary", "c1", "cat", "x")]

    engine.result = ExecResult(exit_code=3, stdout="", stderr="")
    with pytest.raises(ExecError) as caught:
        service.exec("cat", "x", check=True, binary=True)
    assert caught.value.output == "\N{REPLACEMENT CHARACTER}no"


def test_a_command_that_fails_is_a_result_too(service: Service, engine: StubEngine) -> None:
    engine.result = ExecResult(exit_code=3, stdout="", stderr="no")

    assert service.exec("ls").exit_code == 3


@pytest.mark.parametrize(("stdout", "stderr", "shown"), [("out", "err", "err"), ("out", "", "out")])
def test_a_command_that_must_not_fail_raises(
    service: Service, engine: StubEngine, stdout: str, stderr: str, shown: str
) -> None:
    engine.result = ExecResult(exit_code=3, stdout=stdout, stderr=stderr)

    with pytest.raises(ExecError) as caught:
        service.exec("ls", check=True)

    assert (caught.value.exit_code, caught.value.output) == (3, shown)


# -- stacks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stack(engine: StubEngine) -> Stack:
    return Stack("hr", {name: make(engine, name) for name in ("db", "auth")})


def test_a_stack_has_its_services_as_attributes_and_items(stack: Stack) -> None:
    assert stack.db is stack["db"]
    assert stack.auth.name == "auth"


def test_a_stack_lists_its_services(stack: Stack) -> None:
    assert list(stack) == ["db", "auth"]
    assert {"db", "auth"} <= set(dir(stack))
    assert repr(stack) == "<Stack 'hr': db, auth>"


def test_a_service_that_it_does_not_have_is_told_with_those_it_has(stack: Stack) -> None:
    with pytest.raises(AttributeError, match="stack 'hr' has no service 'mail'; it has db, auth"):
        _ = stack.mail


def test_a_stack_can_be_copied(stack: Stack) -> None:
    assert list(copy.copy(stack)) == ["db", "auth"]


def test_a_port_of_udp_is_asked_for_by_its_text(engine: StubEngine) -> None:
    service = make(engine, ports=(), udp_ports=("8125/udp",))
    assert service.port_of("8125/udp") == service.port_of("8125/UDP")
    assert service.host == "127.0.0.1"
    with pytest.raises(IsolateError, match="publishes no port 8125\n  found  declared ports: 8125/udp"):
        service.port_of(8125)
    with pytest.raises(IsolateError, match="declares no port of TCP, so it has no address"):
        _ = service.port
