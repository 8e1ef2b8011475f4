"""One network for each stack at each place."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest

from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.engine.docker.network_api import create_on_one_of, free_subnets, ordered_name, prefix_for
from pytest_isolate.errors import AddressSpaceFull, SubnetTaken
from pytest_isolate.model.service import Scope, ServiceId, StackId
from pytest_isolate.planning.placement import Instance, InstanceKey, NetworkKey, Place
from pytest_isolate.running.network.networks import Networks, network_order, place_code, room_for
from pytest_isolate.running.ownership.domains import SharingDomain
from unit.builders import make_run, spec

HR = NetworkKey(StackId("", "hr"), Place(Scope.SESSION))
SALES = NetworkKey(StackId("", "sales"), Place(Scope.SESSION))


class StubEngine:
    """Refuses the first so many subnets, as if the host's routes overlapped with them."""

    def __init__(self, refuses: int = 0) -> None:
        self.refuses = refuses
        self.used: list[str] = []
        self.calls: list[tuple[object, ...]] = []

    def create_network(
        self, name: str, labels: Mapping[str, str], *, capacity: int, order: Sequence[int], addresses: str
    ) -> str:
        """As Docker's does, which is tested with it here."""
        name, prefix = ordered_name(name, order), prefix_for(capacity)

        def create(subnet: str) -> str:
            if self.refuses:
                self.refuses -= 1
                raise SubnetTaken("taken", found=["overlaps with a route"])
            self.used.append(subnet)
            self.calls.append(("create", name))
            return f"id of {name}"

        subnets = free_subnets(addresses, self.used, prefix, random.Random(1))
        return create_on_one_of(subnets, create, f"a /{prefix} in {addresses}", DockerCommands().list_networks())

    def attach(self, network_id: str, container_id: str, aliases: Sequence[str]) -> None:
        self.calls.append(("attach", network_id, container_id, *aliases))

    def detach(self, network_id: str, container_id: str) -> None:
        self.calls.append(("detach", network_id, container_id))

    def remove_network(self, network_id: str) -> None:
        self.calls.append(("remove", network_id))


@pytest.fixture
def engine() -> StubEngine:
    return StubEngine()


def always_open() -> None:
    """The run goes on."""


def make(engine: StubEngine, pool: str = "10.0.0.0/26") -> Networks:
    return Networks(engine, pool, random.Random(1))


def instance(network: NetworkKey = HR, room: int = 2, rank: int = 0) -> Instance:
    key = InstanceKey(ServiceId(network.stack, "web"), network.place, "")
    return Instance(
        key=key, spec=spec("web"), native_ports=False, dependencies=(), network_capacity=room, stack_depth=rank
    )


def ensure(networks: Networks, network: NetworkKey = HR, room: int = 2) -> str:
    return networks.ensure(instance(network, room), SharingDomain(run=make_run()), always_open)


def test_a_stack_has_one_network(engine: StubEngine) -> None:
    networks = make(engine)

    first, second = ensure(networks), ensure(networks)

    assert first == second
    assert first.startswith("id of isolate-0100000-abcd1234-hr-net-1")
    assert len(engine.used) == 1


def test_another_stack_has_another_network_and_subnet(engine: StubEngine) -> None:
    networks = make(engine)

    assert ensure(networks) != ensure(networks, SALES)
    assert len(set(engine.used)) == 2


def test_a_subnet_that_the_engine_refuses_is_passed_over(engine: StubEngine) -> None:
    engine.refuses = 3

    assert ensure(make(engine))


def test_the_network_is_as_large_as_it_must_be(engine: StubEngine) -> None:
    ensure(make(engine), HR, 20)

    assert engine.used[0].endswith("/27")


def test_without_a_free_subnet_the_error_says_what_to_do(engine: StubEngine) -> None:
    engine.refuses = 99

    with pytest.raises(AddressSpaceFull) as caught:
        ensure(make(engine, "10.0.0.0/28"))

    assert str(caught.value) == (
        "no free subnet for the network of stack hr\n"
        "  tried  a /28 in 10.0.0.0/28\n"
        "  found  10.0.0.0/28: overlaps with a route\n"
        "  do     name a larger or another pool: --isolate-subnets=10.200.0.0/16; "
        "networks of runs that were killed: docker network ls --filter label=pytest-isolate.run"
    )


def test_a_pool_that_is_full_is_told_so(engine: StubEngine) -> None:
    engine.used = ["10.0.0.0/8"]

    with pytest.raises(AddressSpaceFull, match="found  every one is in use, or the pool is smaller than that"):
        ensure(make(engine))


def test_what_is_needed_from_elsewhere_is_attached_once(engine: StubEngine) -> None:
    networks = make(engine)
    network = ensure(networks)

    for _ in range(2):
        networks.attach(network, "c1", ["db"])

    assert engine.calls[1:] == [("attach", network, "c1", "db")]


def test_a_network_is_taken_over_after_what_was_attached_from_elsewhere_is_taken_off(engine: StubEngine) -> None:
    networks = make(engine)
    network = ensure(networks)
    networks.attach(network, "c1", ["db"])

    networks.forget(HR)()

    assert engine.calls[2:] == [("detach", network, "c1")]
    assert ensure(networks) == network


def test_a_network_that_is_not_empty_yet_is_not_taken_over(engine: StubEngine) -> None:
    networks = make(engine)
    old = ensure(networks)

    empty = networks.forget(HR)
    new = ensure(networks)
    empty()

    assert new != old
    networks.forget(HR)
    assert ensure(networks) == old


TESTS = [NetworkKey(StackId("", "hr"), Place(Scope.FUNCTION, f"test_{number}")) for number in range(4)]


def make_ahead(networks: Networks, *keys: NetworkKey) -> None:
    networks.make_ahead([instance(key) for key in keys], SharingDomain(run=make_run()), always_open)


def test_networks_of_later_tests_are_made_ahead_once(engine: StubEngine) -> None:
    networks = make(engine)
    make_ahead(networks, TESTS[0], TESTS[0], TESTS[1])
    make_ahead(networks, TESTS[1], TESTS[2])
    assert len(engine.used) == 2

    assert len({ensure(networks, key) for key in TESTS[:2]}) == 2
    assert len(engine.used) == 2


def test_a_network_that_is_free_again_is_not_made_ahead(engine: StubEngine) -> None:
    networks = make(engine)
    old = ensure(networks, TESTS[0])
    networks.forget(TESTS[0])()

    make_ahead(networks, TESTS[1])

    assert ensure(networks, TESTS[1]) == old
    assert len(engine.used) == 1


def test_networks_that_several_tests_share_are_not_made_ahead(engine: StubEngine) -> None:
    make_ahead(make(engine), HR)

    assert engine.used == []


def test_a_network_that_could_not_be_made_ahead_is_made_when_it_is_needed(engine: StubEngine) -> None:
    networks = make(engine)
    engine.refuses = 99
    make_ahead(networks, TESTS[0])
    engine.refuses = 0

    assert ensure(networks, TESTS[0])


def test_forgetting_what_was_never_made_removes_nothing(engine: StubEngine) -> None:
    make(engine).forget(HR)()

    assert engine.calls == []


def test_places_are_told_apart_by_a_short_word() -> None:
    codes = [place_code(NetworkKey(StackId("", "hr"), Place(Scope.MODULE, node))) for node in ("a.py", "b.py")]

    assert len(set(codes)) == 2
    assert all(len(code) == 6 for code in codes)
    assert place_code(HR) == ""


def test_what_is_attached_to_a_network_comes_from_one_that_sorts_before() -> None:
    """Docker would move its published ports otherwise, and cut every connection through them."""
    worker, module = Place(Scope.SESSION, "", "gw1"), Place(Scope.MODULE, "a.py")
    wide_to_narrow = [
        network_order(instance(rank=7), is_kept=True),
        network_order(instance(rank=0), is_kept=False),
        network_order(instance(rank=1), is_kept=False),
        network_order(instance(NetworkKey(HR.stack, worker)), is_kept=False),
        network_order(instance(NetworkKey(HR.stack, Place(Scope.PACKAGE, "p"))), is_kept=False),
        network_order(instance(NetworkKey(HR.stack, module)), is_kept=False),
        network_order(instance(NetworkKey(HR.stack, Place(Scope.CLASS, "a.py::C"))), is_kept=False),
        network_order(instance(NetworkKey(HR.stack, Place(Scope.FUNCTION, "a.py::t", "gw1"))), is_kept=False),
    ]

    assert wide_to_narrow == sorted(set(wide_to_narrow))
    names = [ordered_name("isolate-abcd1234-hr-net-1", order) for order in wide_to_narrow]
    assert names == sorted(set(names))


@pytest.mark.parametrize(("containers", "room"), [(0, 13), (13, 13), (14, 29), (29, 29), (30, 61)])
def test_the_room_of_a_network_is_that_of_its_kind(containers: int, room: int) -> None:
    assert room_for(containers) == room
    assert prefix_for(containers) == prefix_for(room)
