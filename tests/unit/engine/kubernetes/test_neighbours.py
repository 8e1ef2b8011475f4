"""Tables of hosts that two workers write for the same pods at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from pytest_isolate.engine.kubernetes.neighbours import Neighbours
from pytest_isolate.engine.kubernetes.objects.manifests import HELD
from pytest_isolate.engine.kubernetes.objects.pod_hosts import describe_networks

NETWORK = "net"


class Cluster:
    """Pods of one network, and the tables that their first processes have; `meanwhile` happens before a write."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.tables: dict[str, str] = {}
        self.meanwhile: Callable[[], None] | None = None

    def add(self, name: str) -> Mapping[str, Any]:
        described = describe_networks({NETWORK: [name]})
        meta = {"name": name, **described, "annotations": {**described["annotations"], HELD: "1"}}
        status = {"podIP": f"192.0.2.{len(self.pods) + 1}"}
        self.pods[name] = {"metadata": meta, "spec": {}, "status": status}
        return self.pods[name]

    def list_pods(self, _: Mapping[str, str]) -> list[dict[str, Any]]:
        return list(self.pods.values())

    def get(self, name: str, _: str) -> dict[str, Any]:
        return self.pods[name]

    def start(self, pod: str, table: str) -> Any:
        self.write_hosts(pod, table)
        return SimpleNamespace(starts=1)

    def write_hosts(self, pod: str, table: str) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        self.tables[pod] = table

    def names(self, pod: str) -> set[str]:
        """The pods that this one knows."""
        return {name for name in self.pods if f"\t{name}\n" in self.tables[pod]}


def worker(cluster: Cluster) -> Neighbours:
    pods: Any = cluster
    return Neighbours(pods, pods)


def start(neighbours: Neighbours, cluster: Cluster, name: str) -> None:
    pod = cluster.add(name)
    neighbours.created(name)
    neighbours.start(pod)
    neighbours.tell([NETWORK], but=name)


def test_a_neighbour_of_another_worker_that_comes_while_a_program_is_started_is_known() -> None:
    cluster = Cluster()
    one, other = worker(cluster), worker(cluster)
    cluster.meanwhile = lambda: start(other, cluster, "b")
    start(one, cluster, "a")
    assert cluster.names("a") == cluster.names("b") == {"a", "b"}


def test_an_older_table_of_another_worker_does_not_stay() -> None:
    cluster = Cluster()
    one, other = worker(cluster), worker(cluster)
    start(one, cluster, "a")
    pod = cluster.add("b")
    one.created("b")
    one.start(pod)
    # The table of `a` with `b` is about to be written, when the other worker writes one with `b` and `c`.
    cluster.meanwhile = lambda: start(other, cluster, "c")
    one.tell([NETWORK], but="b")
    assert cluster.names("a") == cluster.names("b") == cluster.names("c") == {"a", "b", "c"}
