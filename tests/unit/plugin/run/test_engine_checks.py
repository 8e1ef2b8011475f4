"""What an engine cannot do is refused by name before anything starts; what it can do, or nothing asks for, is not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_isolate.engine.api import Capability, ContainerRequest, EngineFacts
from pytest_isolate.errors import PlanError
from pytest_isolate.planning.placement import Instance, ItemPosition, place_instances
from pytest_isolate.plugin.run.engine_checks import check_engine
from unit.builders import declare, load_all, raw, sid

WHERE = ItemPosition(test="test_it.py::test", test_class="test_it.py::test", module="test_it.py")


def placed(**services: Mapping[str, object]) -> tuple[Instance, ...]:
    catalogue = load_all(declare(**{name: raw(**keys) for name, keys in services.items()}))
    return place_instances([sid(name) for name in services], catalogue, WHERE)


class Checking:
    """An engine without limits of processes, and without a first process of its own."""

    def find_refusals(self, request: ContainerRequest) -> list[tuple[str, str]]:
        found = [("limits of processes: pods have none", "leave them out")] if request.settings.ulimits else []
        return [*found, *([("init: pods have none", "leave it out")] if request.settings.init else [])]


CHECKING = Checking()


def engine(without: frozenset[Capability] = frozenset(Capability)) -> EngineFacts:
    capabilities = frozenset(Capability) - without
    return EngineFacts(name="Far", version="1", address="", is_local=True, capabilities=capabilities)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"ports": [53, "53/udp"]}, "ports: it cannot publish ports of UDP"),
        ({"build": "/src"}, "build: it cannot build images"),
        ({"container": {"network": "host"}}, "container.network: it cannot run containers on the network of its host"),
        (
            {"container": {"extra_hosts": {"cache": "192.0.2.1"}}},
            "container.extra_hosts: it cannot give containers the addresses of other hosts",
        ),
        ({"container": {"ulimits": {"nofile": 1024}}}, "limits of processes: pods have none"),
    ],
)
def test_what_it_cannot_do_is_refused_with_its_key(keys: Mapping[str, object], reason: str) -> None:
    with pytest.raises(PlanError) as caught:
        check_engine(placed(web=keys, plain={}), engine(), CHECKING)
    text = str(caught.value)
    assert text.startswith("Far 1 cannot run these services as they are declared; no test was run")
    assert f"service 'web' (/project/conftest.py:7): {reason}" in text
    assert "\n  do " in text
    assert "plain" not in text


def test_all_of_it_is_told_at_once_and_each_way_out_once() -> None:
    with pytest.raises(PlanError) as caught:
        check_engine(
            placed(a={"ports": ["53/udp"], "container": {"init": True}}, b={"ports": ["53/udp"]}), engine(), CHECKING
        )
    lines = str(caught.value).splitlines()
    assert len([line for line in lines if "service '" in line]) == 3
    assert len([line for line in lines if "leave it out, or run" in line]) == 1


def test_the_network_of_another_service_is_refused() -> None:
    with pytest.raises(PlanError, match=r"container\.network: it cannot give a container the network or a namespace"):
        check_engine(placed(web={}, near={"container": {"network": "service:web"}, "needs": ["web"]}), engine())


def test_a_volume_of_two_services_is_refused_and_one_of_its_own_is_not() -> None:
    without = frozenset({Capability.SHARED_VOLUMES})
    check_engine(placed(a={"volumes": {"own": "/own"}}, b={"volumes": {"other": "/own"}}), engine(without))
    with pytest.raises(PlanError, match="services 'a' and 'b': volume 'both': it cannot share a volume"):
        check_engine(placed(a={"volumes": {"both": "/x"}}, b={"volumes": {"both": "/y"}}), engine(without))


def test_an_engine_that_can_do_everything_refuses_nothing() -> None:
    services = placed(
        web={"ports": [80, "53/udp"], "volumes": {"both": "/x"}, "container": {"init": True, "network": "host"}},
        built={"build": "/src", "volumes": {"both": "/y"}},
    )
    check_engine(services, engine(frozenset()))
