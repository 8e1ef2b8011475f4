"""Host ports and loopback addresses, on this host's real sockets."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, cast

import psutil
import pytest
from msgspec.structs import replace

from pytest_isolate.engine.api import Engine, EngineFacts, GivenAddress, PublishAddress
from pytest_isolate.errors import AddressSpaceFull, EngineError, StartError
from pytest_isolate.model.service import Scope
from pytest_isolate.planning.placement import Instance, InstanceKey, Place
from pytest_isolate.running.network import ports
from pytest_isolate.running.network.addresses import Addresses, check_bind_ip, choose_publish_address
from pytest_isolate.running.network.ports import (
    LOOPBACK,
    HeldPorts,
    claim_loopback_address,
    describe_holder,
    hold_free_ports,
    hold_native_ports,
    pick_udp_ports,
)
from unit.builders import sid, spec

HERE = EngineFacts(name="Docker", version="1", address="unix:///s", is_local=True)
THERE = replace(HERE, address="tcp://box:2375", is_local=False, host="box", publish_on="0.0.0.0")
AROUND = replace(HERE, is_local=False, host="172.17.0.1", publish_on="172.17.0.1")


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@contextmanager
def listening(host: str, port: int = 0, *, reuse: bool = False) -> Iterator[socket.socket]:
    with socket.socket() as sock:
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()
        yield sock


def hold(cleanup: ExitStack, *inner: int, host: str = LOOPBACK) -> HeldPorts:
    held = hold_free_ports(inner, host)
    cleanup.callback(held.release)
    return held


def test_each_inner_port_gets_a_port_of_its_own(cleanup: ExitStack) -> None:
    held = hold(cleanup, 80, 443, 8080)

    assert held.host == "127.0.0.1"
    assert held.by_inner.keys() == {80, 443, 8080}
    assert len(set(held.by_inner.values())) == 3


def test_without_ports_nothing_is_held(cleanup: ExitStack) -> None:
    assert hold(cleanup).sockets == []


def test_a_held_port_is_given_to_nobody_else(cleanup: ExitStack) -> None:
    held = hold(cleanup, 80).by_inner[80]

    assert held not in {hold(cleanup, 80).by_inner[80] for _ in range(200)}


def test_a_held_port_cannot_be_bound_by_a_stranger(cleanup: ExitStack) -> None:
    port = hold(cleanup, 80).by_inner[80]

    with pytest.raises(OSError, match="in use"), listening(LOOPBACK, port):
        pass


def test_the_engine_can_listen_on_a_held_port_again_and_again(cleanup: ExitStack) -> None:
    port = hold(cleanup, 80).by_inner[80]

    for _ in range(2):
        with listening(LOOPBACK, port, reuse=True), socket.create_connection((LOOPBACK, port)) as client:
            assert client.getpeername() == (LOOPBACK, port)


def test_nobody_answers_at_a_held_port(cleanup: ExitStack) -> None:
    port = hold(cleanup, 80).by_inner[80]

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port))


def test_a_released_port_is_free_for_anybody(cleanup: ExitStack) -> None:
    held = hold(cleanup, 80)

    held.release()
    held.release()

    with listening(LOOPBACK, held.by_inner[80]) as sock:
        assert sock.getsockname() == (LOOPBACK, held.by_inner[80])


# -- native ports -----------------------------------------------------------------------------------------------------


@pytest.fixture
def address(cleanup: ExitStack) -> str:
    """A loopback address that nobody else uses."""
    host, claim = claim_loopback_address(random.Random())
    cleanup.enter_context(claim)
    return host


def test_a_native_port_is_the_same_outside_as_inside(address: str) -> None:
    held = hold_native_ports([8025, 8143], address, "'mail'")

    held.release()

    assert (held.host, held.by_inner) == (address, {8025: 8025, 8143: 8143})


def test_two_addresses_have_the_same_native_port(address: str, cleanup: ExitStack) -> None:
    other, claim = claim_loopback_address(random.Random())
    cleanup.enter_context(claim)

    both = [hold_native_ports([8025], host, "'mail'") for host in (address, other)]
    for held in both:
        cleanup.callback(held.release)

    assert [sock.getsockname() for held in both for sock in held.sockets] == [(address, 8025), (other, 8025)]


def test_a_native_port_in_use_is_told_with_the_process_that_has_it(address: str) -> None:
    with listening(address) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(StartError) as caught:
            hold_native_ports([port], address, "'mail' (image:1)")

    me = f"process {os.getpid()} ({psutil.Process().name()})"
    assert str(caught.value) == (
        f"service 'mail' (image:1) cannot have its native port {port}\n"
        f"  tried  bind {address}:{port}\n"
        f"  found  Address already in use; {me} listens on {address}:{port}\n"
        "  do     stop that process (a listener on 0.0.0.0 blocks the port on every loopback address), "
        "or use ports='held' for the stack"
    )


def test_a_listener_on_every_address_is_named(address: str) -> None:
    with listening("0.0.0.0") as sock:
        port = sock.getsockname()[1]

        assert describe_holder(address, port).endswith(f"listens on 0.0.0.0:{port}")


def test_a_listener_on_another_address_is_not_blamed(address: str) -> None:
    with listening(LOOPBACK) as sock:
        holder = describe_holder(address, sock.getsockname()[1])

    assert holder == "no listener can be seen; a container without a user-land proxy may have it"


def test_what_was_held_before_the_one_in_use_is_let_go(address: str) -> None:
    with listening(address) as sock, pytest.raises(StartError):
        hold_native_ports([8025, sock.getsockname()[1]], address, "'mail'")

    with listening(address, 8025):
        pass


def test_without_the_right_to_look_the_holder_stays_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)

    assert describe_holder(LOOPBACK, 25) == "who has it cannot be seen without more rights"


# -- loopback addresses -----------------------------------------------------------------------------------------------


def test_a_claimed_address_is_claimed_by_nobody_else(cleanup: ExitStack) -> None:
    hosts = []
    for _ in range(100):
        # Always the same random numbers: each claim first meets all that were made before.
        host, claim = claim_loopback_address(random.Random(7))
        cleanup.enter_context(claim)
        hosts.append(host)

    assert len(set(hosts)) == 100


def test_an_address_is_free_again_when_its_claim_is_closed() -> None:
    seed, hosts = random.random(), set()
    for _ in range(2):
        host, claim = claim_loopback_address(random.Random(seed))
        claim.close()
        hosts.add(host)

    assert len(hosts) == 1


def test_the_addresses_that_others_live_on_are_left_alone() -> None:
    rng = random.Random(9)
    hosts = []
    for _ in range(300):
        host, claim = claim_loopback_address(rng)
        claim.close()
        hosts.append([int(part) for part in host.split(".")])

    assert all(first == 127 and second > 0 and last not in (0, 255) for first, second, _, last in hosts)


def test_without_loopback_addresses_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_CLAIM_TRIES", 3)
    rng = random.Random()
    rng.randint = lambda *_: 300  # no such address

    with pytest.raises(AddressSpaceFull) as caught:
        claim_loopback_address(rng)

    assert str(caught.value) == (
        "no loopback address for a stack with native ports was found\n"
        "  tried  3 addresses in 127.0.0.0/8, claimed with UDP port 61173\n"
        "  found  each is in use, or this system has only 127.0.0.1 (loopback addresses need Linux)\n"
        "  do     use ports='held' for the stack"
    )


# -- addresses of instances -------------------------------------------------------------------------------------------


def instance(name: str, stack: str = "", *, port: int = 8025, native: bool = False) -> Instance:
    key = InstanceKey(sid(name, stack), Place(Scope.SESSION), "f")
    return Instance(
        key=key, spec=spec(name, ports=(port,)), native_ports=native, dependencies=(), network_capacity=1, stack_depth=0
    )


@pytest.fixture
def addresses(cleanup: ExitStack) -> Addresses:
    made = Addresses(random.Random())
    cleanup.callback(made.close)
    return made


def test_a_stack_with_native_ports_has_one_address_of_its_own(addresses: Addresses, cleanup: ExitStack) -> None:
    wanted = [("mail", "hr", 8025), ("auth", "hr", 8080), ("mail", "sales", 8025)]

    held = [addresses.hold(instance(name, stack, port=port, native=True), "'x'") for name, stack, port in wanted]

    for one in held:
        cleanup.callback(one.release)
    assert held[0].host == held[1].host != held[2].host
    assert [one.by_inner for one in held] == [{8025: 8025}, {8080: 8080}, {8025: 8025}]
    assert addresses.publish_on(held[0]) == held[0].host


def test_a_stack_that_has_ended_gives_its_address_back() -> None:
    seed = random.random()
    addresses = Addresses(random.Random(seed))
    held = addresses.hold(instance("mail", "hr", native=True), "'mail'")
    held.release()

    addresses.release(instance("mail", "hr").network)

    host, claim = claim_loopback_address(random.Random(seed))
    claim.close()
    assert host == held.host


def test_held_ports_are_on_the_usual_address(addresses: Addresses, cleanup: ExitStack) -> None:
    held = addresses.hold(instance("a"), "'a'")
    cleanup.callback(held.release)

    assert (held.host, addresses.publish_on(held)) == (LOOPBACK, LOOPBACK)


@pytest.mark.parametrize(("bind", "reached"), [("0.0.0.0", LOOPBACK), ("127.0.0.9", "127.0.0.9")])
def test_another_address_may_be_published_on(cleanup: ExitStack, bind: str, reached: str) -> None:
    addresses = Addresses(random.Random(), reach=choose_publish_address(HERE, bind))
    held = addresses.hold(instance("a"), "'a'")
    cleanup.callback(held.release)

    assert (held.host, addresses.publish_on(held)) == (reached, bind)


def test_an_address_of_this_host_can_be_published_on() -> None:
    assert check_bind_ip("127.0.0.1") == "127.0.0.1"


def test_an_address_of_another_host_cannot_be_published_on() -> None:
    with pytest.raises(EngineError) as caught:
        check_bind_ip("192.0.2.1")

    assert str(caught.value) == (
        "ports cannot be published on 192.0.2.1\n"
        "  found  Cannot assign requested address\n"
        "  do     name an address of this host"
    )


# -- engines elsewhere ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "bind", "host", "expected"),
    [
        pytest.param(HERE, "", "", PublishAddress(), id="on this host"),
        pytest.param(HERE, "0.0.0.0", "", PublishAddress(publish_on="0.0.0.0"), id="on all addresses of this host"),
        pytest.param(
            HERE, "127.0.0.9", "", PublishAddress(host="127.0.0.9", publish_on="127.0.0.9"), id="on one of them"
        ),
        pytest.param(HERE, "", "box.test", PublishAddress(host="box.test"), id="on this host, under a name"),
        pytest.param(THERE, "", "", PublishAddress(host="box", publish_on="0.0.0.0", is_local=False), id="elsewhere"),
        pytest.param(
            THERE,
            "10.0.0.5",
            "",
            PublishAddress(host="10.0.0.5", publish_on="10.0.0.5", is_local=False),
            id="on one address",
        ),
        pytest.param(
            THERE, "", "gate", PublishAddress(host="gate", publish_on="0.0.0.0", is_local=False), id="through a gate"
        ),
        pytest.param(
            THERE,
            "10.0.0.5",
            "gate",
            PublishAddress(host="gate", publish_on="10.0.0.5", is_local=False),
            id="both said",
        ),
        pytest.param(
            AROUND, "", "", PublishAddress(host="172.17.0.1", publish_on="172.17.0.1", is_local=False), id="from within"
        ),
        pytest.param(
            AROUND,
            "0.0.0.0",
            "",
            PublishAddress(host="172.17.0.1", publish_on="0.0.0.0", is_local=False),
            id="within, on all",
        ),
        pytest.param(
            replace(AROUND, host="", publish_on="0.0.0.0"),
            *("", "host.docker.internal"),
            PublishAddress(host="host.docker.internal", publish_on="0.0.0.0", is_local=False),
            id="within, without a gateway",
        ),
    ],
)
def test_reach_is_where_the_engine_is_unless_the_user_says_otherwise(
    facts: EngineFacts, bind: str, host: str, expected: PublishAddress
) -> None:
    """Trap 23."""
    assert choose_publish_address(facts, bind, host) == expected


def test_a_host_that_nobody_knows_has_to_be_said() -> None:
    with pytest.raises(EngineError, match="--isolate-host=ADDRESS"):
        choose_publish_address(replace(AROUND, host="", publish_on="0.0.0.0"))


def test_ports_elsewhere_are_picked_and_differ(cleanup: ExitStack) -> None:
    addresses = Addresses(random.Random(1), reach=choose_publish_address(THERE))
    two_ports = replace(instance("a"), spec=spec("a", ports=(80, 443)))

    held = [addresses.hold(two_ports, "'a'") for _ in range(20)]

    numbers = {number for one in held for number in one.by_inner.values()}
    assert len(numbers) > 30
    assert all(20_000 <= number < 30_000 for number in numbers)
    assert {(one.host, addresses.publish_on(one), len(one.sockets)) for one in held} == {("box", "0.0.0.0", 0)}


@pytest.mark.parametrize("facts", [HERE, THERE])
def test_ports_that_were_told_before_the_run_are_used(facts: EngineFacts, cleanup: ExitStack) -> None:
    known = {"a": hold(cleanup, 8025).by_inner}
    held = Addresses(random.Random(), reach=choose_publish_address(facts), known=known).hold(instance("a"), "'a'")
    cleanup.callback(held.release)

    assert held.by_inner == known["a"]


def test_native_ports_are_for_engines_on_this_host() -> None:
    addresses = Addresses(random.Random(), reach=choose_publish_address(THERE))

    with pytest.raises(StartError, match="cannot have its native ports"):
        addresses.hold(instance("a", "hr", native=True), "'a'")


def test_a_port_of_udp_that_a_program_has_is_not_picked() -> None:
    class Picky(random.Random):
        def sample(self, population: Any, k: int, **_: Any) -> Any:
            return [taken, taken, 20_001, 20_002][:k]

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        taken = sock.getsockname()[1]
        picked = pick_udp_ports(["53/udp", "8125/udp"], "127.0.0.1", Picky())
    assert picked == {"53/udp": 20_001, "8125/udp": 20_002}


# -- ports that a forwarder brings here ------------------------------------------------------------------------------


IN_A_VM = replace(HERE, shares_kernel=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of claims."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> range:
    """The ports to choose from."""
    first = 27_100 + 10 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    few = range(first, first + 3)
    monkeypatch.setattr(ports, "REMOTE_RANGE", few)
    return few


def with_ports(*inner: int) -> Instance:
    return replace(instance("a"), spec=spec("a", ports=inner))


def forwarded(bind: str = "") -> Addresses:
    return Addresses(random.Random(1), reach=choose_publish_address(IN_A_VM, bind), facts=IN_A_VM)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("bind", ["", "0.0.0.0"])
def test_no_socket_of_ours_is_in_the_way_of_a_forwarder(cleanup: ExitStack, bind: str) -> None:
    """Trap 38: neither one with SO_REUSEADDR, nor one that is bound to another address."""
    held = forwarded(bind).hold(with_ports(80, 81), "'a'")
    cleanup.callback(held.release)

    assert held.host == LOOPBACK
    assert not held.sockets
    for port in held.by_inner.values():
        assert 20_000 <= port < 30_000
        with listening("0.0.0.0", port):
            pass


@pytest.mark.usefixtures("folder")
def test_claimed_port_is_given_to_no_other_run(cleanup: ExitStack, few: range) -> None:
    held = [forwarded().hold(with_ports(80), "'a'") for _ in few]

    assert {port for one in held for port in one.by_inner.values()} == set(few)
    with pytest.raises(AddressSpaceFull, match="claimed by another run"):
        forwarded().hold(with_ports(80), "'a'")

    in_thread = Thread(target=held[1].release)
    in_thread.start()
    in_thread.join()
    again = forwarded().hold(with_ports(80), "'a'")
    assert again.by_inner == held[1].by_inner
    for one in (held[0], held[2], again):
        one.release()


@pytest.mark.usefixtures("folder")
def test_port_that_is_in_use_is_not_picked(cleanup: ExitStack, few: range) -> None:
    for port in few[:-1]:
        cleanup.enter_context(listening("0.0.0.0", port))

    held = forwarded().hold(with_ports(80), "'a'")

    assert held.by_inner == {80: few[-1]}
    held.release()


@pytest.mark.usefixtures("folder")
def test_what_was_claimed_is_let_go_where_no_more_is_free(few: range) -> None:
    with pytest.raises(AddressSpaceFull):
        forwarded().hold(with_ports(80, 81, 82, 83), "'a'")

    forwarded().hold(with_ports(80, 81, 82), "'a'").release()


@pytest.mark.usefixtures("folder")
def test_native_ports_in_a_virtual_machine_are_refused() -> None:
    native = instance("a", native=True)

    with pytest.raises(StartError, match="the engine runs in a virtual machine, whose forwarder"):
        forwarded().hold(native, "'a'")


# -- engines that give each container an address of its own ------------------------------------------------------------


class Giving:
    """Gives addresses, and notes which it has got back."""

    def __init__(self) -> None:
        self.given: list[tuple[dict[str, str], list[int]]] = []
        self.back: list[str] = []

    def give_address(self, labels: Mapping[str, str], ports: Collection[int]) -> GivenAddress:
        self.given.append((dict(labels), list(ports)))
        return GivenAddress(f"given-{len(self.given)}", f"192.0.2.{len(self.given)}")

    def take_address_back(self, address_id: str) -> None:
        self.back.append(address_id)


def test_an_address_of_an_instances_own_has_the_ports_as_they_are() -> None:
    engine = Giving()
    addresses = Addresses(random.Random(), given_by=engine)
    held = addresses.hold(instance("a"), "'a'", {"run": "1"})
    assert (held.host, held.by_inner, held.address_id) == ("192.0.2.1", {8025: 8025}, "given-1")
    assert engine.given == [({"run": "1"}, [8025])]
    # The process that made it may end before others of its run, which use it.
    held.release()
    assert engine.back == []
    held.end()
    held.end()
    assert engine.back == ["given-1"]


def test_an_instance_without_ports_is_given_no_address() -> None:
    engine, without = Giving(), instance("a")
    without = replace(without, spec=replace(without.spec, ports=()))
    assert Addresses(random.Random(), given_by=engine).hold(without, "'a'").by_inner == {}
    assert not engine.given


class Telling:
    """Tells the address of a container that runs."""

    def address_of(self, container_id: str) -> str:
        return {"c1": "192.0.2.9"}[container_id]


def test_an_address_that_is_known_only_when_a_container_runs_is_noted_then() -> None:
    facts = EngineFacts(name="", version="", address="", is_local=True, has_addresses=True)
    addresses = Addresses(random.Random(), facts=facts)
    held = addresses.hold(instance("a"), "'a'")
    assert (held.host, held.by_inner) == ("", {8025: 8025})
    assert addresses.complete(held, cast("Engine", Telling()), "c1")
    assert held.host == "192.0.2.9"


def test_an_address_that_is_known_stays() -> None:
    addresses = Addresses(random.Random(), given_by=Giving())
    held = addresses.hold(instance("a"), "'a'")
    assert not addresses.complete(held, cast("Engine", Telling()), "c1")
    assert held.host == "192.0.2.1"
