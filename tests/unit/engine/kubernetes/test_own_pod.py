"""The pod around this process: named only where it is certain, for what has a wrong owner is removed at once."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.engine.kubernetes.lifetime.own_pod import find_own_pod

from .served import Answer, Request, Served, answer, refusal

HERE = {"metadata": {"name": "job", "uid": "u-1"}, "status": {"podIPs": [{"ip": "127.0.0.1"}, {"ip": "fd00::7"}]}}
ELSEWHERE = {**HERE, "status": {"podIPs": [{"ip": "10.1.2.3"}]}}


def find(
    pod: Mapping[str, Any] | None, env: Mapping[str, str], context: str = ""
) -> tuple[Mapping[str, str] | None, list[str]]:
    """What is found, and what the API server was asked."""

    def says(_: Request) -> Answer:
        return answer(pod) if pod else refusal(404, "NotFound", "pods not found")

    with Served(says) as server:
        cluster = Cluster(server=server.address, namespace="team", context=context)
        with closing(ClusterClient(cluster, {})) as client:
            return find_own_pod(client, env), server.asked


def test_it_is_the_pod_of_the_hosts_name_at_the_address_of_this_process() -> None:
    found, asked = find(HERE, {})
    assert found == {"apiVersion": "v1", "kind": "Pod", "name": socket.gethostname(), "uid": "u-1"}
    assert asked == [f"GET /api/v1/namespaces/team/pods/{socket.gethostname()}"]


def test_a_variable_names_it_where_the_host_has_another_name() -> None:
    found, _ = find(HERE, {"POD_NAME": "job-7"})
    assert found
    assert found["name"] == "job-7"


@pytest.mark.parametrize(
    ("pod", "context"),
    [(ELSEWHERE, ""), ({**HERE, "status": {}}, ""), (None, ""), (HERE, "another-cluster")],
    ids=["another", "not-up", "missing", "kubeconfig"],
)
def test_in_doubt_there_is_none(pod: Mapping[str, Any] | None, context: str) -> None:
    assert find(pod, {}, context)[0] is None
