"""Finding and removing: all of an engine that the guardian needs, which has to be small while it waits.

`KubernetesEngine` builds on it, so that both clean up in the same way. The object that owns a run is told as a network
of the run's own labels: it is removed with the run's networks, behind all else, and takes with it what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_isolate.engine.kubernetes.api_errors import ApiError
from pytest_isolate.engine.kubernetes.objects.object_labels import (
    ADDRESS,
    CONTAINER,
    NAME,
    NETWORK,
    RUN,
    RUN_LABELS,
    VOLUME,
    annotation,
    has_all,
    object_name,
    read_labels,
    select,
    select_by_name,
)
from pytest_isolate.engine.kubernetes.objects.pod_hosts import describe_networks, read_networks, select_members
from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import LABEL_KEPT

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
    from pytest_isolate.engine.kubernetes.objects.kubectl_commands import KubectlCommands

LEASE = "lease/"
VOLUME_OF = "vol.pytest-isolate"
AT_ONCE = {"gracePeriodSeconds": 0}


class ClusterRemover:
    """Finds and removes containers, networks and volumes by label. Safe to use from several threads."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        base = f"/api/v1/namespaces/{client.namespace}"
        self._pods, self._secrets = f"{base}/pods", f"{base}/secrets"
        self._services = f"{base}/services"
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{client.namespace}/leases"

    @property
    def commands(self) -> KubectlCommands:
        from pytest_isolate.engine.kubernetes.objects.kubectl_commands import (
            KubectlCommands,
        )  # where something is wrong

        return KubectlCommands(self._client.namespace, self._client.cluster.context)

    def check(self, labels: Mapping[str, str]) -> None:
        """Prove that the cluster answers and understands the very questions that removing will ask."""
        self.list_containers(labels)
        self.list_networks(labels)
        self.list_volumes(labels)
        self.labels_of_volumes(LABEL_KEPT)

    def list_containers(self, labels: Mapping[str, str]) -> Sequence[str]:
        return [_name(pod) for pod in self._list(self._pods, select(CONTAINER, labels)) if has_all(pod, labels)]

    def list_networks(self, labels: Mapping[str, str]) -> Sequence[str]:
        networks = [
            _name(found) for found in self._list(self._secrets, select(NETWORK, labels)) if has_all(found, labels)
        ]
        if not labels.keys() <= set(RUN_LABELS):
            return networks
        return [
            *networks,
            *(run_id for run_id, found in self._list_runs(select(RUN, labels)) if has_all(found, labels)),
        ]

    def list_volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        volumes = self._list(self._secrets, select(VOLUME, labels))
        return [annotation(found, NAME) for found in volumes if has_all(found, labels)]

    def labels_of_volumes(self, label: str) -> Sequence[Mapping[str, str]]:
        volumes = self._list(self._secrets, select_by_name(VOLUME, label))
        return [labels for found in volumes if label in (labels := read_labels(found))]

    def remove_container(self, container_id: str) -> None:
        removed = self._client.delete(f"{self._pods}/{container_id}", AT_ONCE)
        self._client.delete(f"{self._secrets}/{container_id}")
        # Whoever gave it may have ended long ago, and the run that owns it may go on: as with --isolate-reuse.
        address = ((removed.get("metadata") or {}).get("labels") or {}).get(ADDRESS)
        if address:
            self._remove_address(address)

    def _remove_address(self, name: str) -> None:
        try:
            self._client.delete(f"{self._services}/{name}")
        except ApiError as error:
            if error.status != 403:  # outside of the cluster nobody needs that right; it goes with its run
                raise

    def remove_network(self, network_id: str) -> None:
        if network_id.startswith(LEASE):
            self._client.delete(f"{self._leases}/{network_id.removeprefix(LEASE)}")
            return
        for pod in self._list(self._pods, select_members(network_id)):
            self.detach(network_id, _name(pod))
        self._client.delete(f"{self._secrets}/{network_id}")

    def detach(self, network_id: str, container_id: str) -> None:
        """Take a container off a network; one that is off it, or gone, is fine."""
        for pod in self._list(self._pods, select_members(network_id)):
            if _name(pod) == container_id:
                networks = {name: aliases for name, aliases in read_networks(pod).items() if name != network_id}
                body = {"metadata": describe_networks(networks, left=(network_id,))}
                self._client.patch(f"{self._pods}/{container_id}", body)

    def remove_volume(self, name: str) -> None:
        volume_id = object_name(f"volume {name}")
        users = self._list(self._pods, {"labelSelector": f"{VOLUME_OF}/{volume_id}"})
        if users:
            raise EngineError(
                f"volume {name} could not be removed",
                found=f"it is in use by {', '.join(annotation(pod, NAME) for pod in users)}",
                do="remove that container first",
            )
        for found in (volume_id, claim_name(volume_id)):
            self._client.delete(f"{self._secrets}/{found}")

    def _list(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """The objects that a query selects, but those that are on their way out."""
        items = self._client.get(path, query).get("items") or ()
        return [found for found in items if not found["metadata"].get("deletionTimestamp")]

    def _list_runs(self, query: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The objects that own runs: Leases, and Secrets where Leases are not allowed."""
        for found in self._list(self._secrets, query):
            yield _name(found), found
        try:
            leases = self._list(self._leases, query)
        except ApiError as error:
            if error.status != 403:
                raise
            return
        for found in leases:
            yield f"{LEASE}{_name(found)}", found


def claim_name(volume_id: str) -> str:
    """The name of the object that says which container has a volume."""
    return f"{volume_id}-claim"


def _name(found: Mapping[str, Any]) -> str:
    return str(found["metadata"]["name"])
