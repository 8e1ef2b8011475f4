"""The process of a fake cluster: how it begins and ends."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import IMAGE, forever

from .calling import Api
from .conftest import Pods
from .fake.handle import FakeCluster
from .fake.node.network import LABEL

pytestmark = [pytest.mark.engine, pytest.mark.linux]


@pytest.fixture
def own_cluster(tmp_path: Path, docker_client: Any) -> Any:
    """A cluster of this test's own, over plain HTTP."""
    if os.geteuid() != 0:
        pytest.skip("a fake cluster enters the networks of its containers: that needs root")
    cluster = FakeCluster(tmp_path, "--image", IMAGE, "--plain")
    yield cluster
    cluster.close()


def left(docker_client: Any, cluster: FakeCluster) -> list[Any]:
    only = {"label": f"{LABEL}={(cluster.folder / 'cluster-id').read_text()}"}
    return [*docker_client.containers(all=True, filters=only), *docker_client.networks(filters=only)]


def test_a_server_that_is_frozen_answers_later(own_cluster: FakeCluster) -> None:
    api = Api(own_cluster.kubeconfig)
    waiting = threading.Event()

    def ask() -> int:
        waiting.set()
        return api.call("GET", "pods")[0]

    with ThreadPoolExecutor(1) as pool:
        own_cluster.freeze()
        answer = pool.submit(ask)
        assert waiting.wait(10)
        with pytest.raises(FutureTimeoutError):
            answer.result(1)
        own_cluster.thaw()
        assert answer.result(30) == 200


def test_nothing_is_left_of_a_cluster_that_is_closed(own_cluster: FakeCluster, docker_client: Any) -> None:
    Pods(Api(own_cluster.kubeconfig)).run(forever())
    assert len(left(docker_client, own_cluster)) == 3
    own_cluster.close()
    assert left(docker_client, own_cluster) == []
    assert list((own_cluster.folder / "pods").iterdir()) == []


def test_nothing_is_left_of_a_cluster_that_is_killed(own_cluster: FakeCluster, docker_client: Any) -> None:
    Pods(Api(own_cluster.kubeconfig)).run(forever())
    own_cluster.process.kill()
    own_cluster.process.wait()
    assert len(left(docker_client, own_cluster)) == 3
    own_cluster.close()
    assert left(docker_client, own_cluster) == []
