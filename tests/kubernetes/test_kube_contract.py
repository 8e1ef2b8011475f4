"""What every engine does, asked of Kubernetes: the contract suite's own tests, on a fake cluster or a real one.

`REFUSED` has what a cluster cannot do, and why. A test in it has to fail, so that the table stays true.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from engine import test_contract
from engine.test_contract import Bench

from kubernetes.local_images import LocalImages
from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.cluster_engine import KubernetesEngine
from pytest_isolate.engine.kubernetes.kube_config import load_cluster
from pytest_isolate.engine.kubernetes.relay_orders import RelayOrders
from pytest_isolate.engine.kubernetes.relayed_ports import RelayedPorts
from pytest_isolate.model.identity import LABEL_RUN

pytestmark = [pytest.mark.engine, pytest.mark.linux]
RUN = f"contract-{secrets.token_hex(4)}"  # of this process: one cluster may be that of several

BUILDS = "a cluster builds no images"
NODES = "images of a cluster are its nodes', and have no names there that could be given"
SUBNETS = "pods have the addresses of the cluster: networks are names"
REFUSED = {
    "test_the_hosts_address_for_containers_is_one": "the host of the tests has no address that pods are sure to reach",
    "test_pull_that_no_registry_answers_says_so": "its text names the command of Docker",
    "test_built_image_has_its_command_and_an_id": BUILDS,
    "test_same_dockerfile_gives_the_same_image_and_another_one_another": BUILDS,
    "test_health_check_of_an_image_is_read": BUILDS,
    "test_failing_build_names_the_step": BUILDS,
    "test_build_from_an_unknown_image_fails_at_its_first_step": BUILDS,
    "test_saved_folder_of_a_paused_container_becomes_part_of_an_image": BUILDS,
    "test_an_image_gets_one_more_name_by_its_id": NODES,
    "test_limits_that_do_not_hold_are_told": "how many processes a pod may have is its node's to say",
    "test_log_of_one_stream": "a cluster keeps both outputs as one log",
    "test_network_is_listed_with_its_subnet_until_it_is_removed": SUBNETS,
    "test_subnet_that_overlaps_is_taken": SUBNETS,
    "test_networks_have_room_and_names_in_order": SUBNETS,
    "test_volume_outlives_containers_and_is_shared_by_name": "a volume lives with the one container that it is of",
}


@pytest.fixture(scope="module")
def engine(
    kubeconfig: Path, docker_client: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubernetesEngine]:
    found = load_cluster({"KUBECONFIG": str(kubeconfig)})
    relay = RelayOrders(tmp_path_factory.mktemp("run"), found)
    engine = KubernetesEngine(ClusterClient(found, {}), LocalImages(docker_client), RelayedPorts(relay))
    yield engine
    relay.end()
    for run in engine.list_networks({LABEL_RUN: RUN}):
        engine.remove_network(run)
    assert [one for one in engine.find_labelled(LABEL_RUN) if one.labels[LABEL_RUN] == RUN] == []
    engine.close()


@pytest.fixture
def bench(engine: KubernetesEngine) -> Iterator[Bench]:
    bench = Bench(engine, RUN)
    yield bench
    bench.clear()
    assert engine.list_containers(bench.labels) == []


def take_over(test: Callable[..., None]) -> Callable[..., None]:
    """A test of the contract as one of this module, with the bench from here."""
    assert isinstance(test, FunctionType)
    own = FunctionType(test.__code__, test.__globals__, test.__name__, test.__defaults__, test.__closure__)
    own.__dict__.update(test.__dict__)
    own.__annotations__ = test.__annotations__
    own.pytestmark = list(getattr(test, "pytestmark", ()))  # type: ignore[attr-defined]
    reason = REFUSED.get(test.__name__)
    return pytest.mark.xfail(strict=True, reason=reason)(own) if reason else own


_OF_ANY_ENGINE = {
    name: test
    for name, test in vars(test_contract).items()
    if name.startswith("test_") and "bench" in inspect.signature(test).parameters
}
globals().update({name: take_over(test) for name, test in _OF_ANY_ENGINE.items()})


def test_what_is_refused_is_in_the_contract() -> None:
    assert set(REFUSED) <= set(_OF_ANY_ENGINE)
    assert Path(test_contract.__file__).name == "test_contract.py"
