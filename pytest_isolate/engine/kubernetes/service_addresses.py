"""Addresses of pods for tests inside the cluster: a Service each, whose address is known before the pod is made."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from pytest_isolate.engine.api import GivenAddress
from pytest_isolate.engine.kubernetes.objects.object_labels import ADDRESS, describe_object

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient

KIND = "address"


class ServiceAddresses:
    """Gives addresses in one namespace, and takes them back."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._path = f"/api/v1/namespaces/{client.namespace}/services"

    def give(self, labels: Mapping[str, str], ports: Collection[int], owner: Mapping[str, str] | None) -> GivenAddress:
        """An address with these ports. A port that is not among them does not refuse: it never answers."""
        name = f"isolate-{secrets.token_hex(6)}"
        made = self._client.create(self._path, build_address(name, ports, labels, owner))
        return GivenAddress(name, str(made["spec"]["clusterIP"]))

    def take_back(self, address_id: str) -> None:
        """Remove an address; one that is gone is fine."""
        self._client.delete(f"{self._path}/{address_id}")


def build_address(
    name: str, ports: Collection[int], labels: Mapping[str, str], owner: Mapping[str, str] | None
) -> dict[str, Any]:
    """A Service of one pod, which answers before kubelet calls that ready: the service is asked by our own probes."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            **describe_object(KIND, name, labels),
            **({"ownerReferences": [dict(owner)]} if owner else {}),
        },
        "spec": {
            "selector": {ADDRESS: name},
            "publishNotReadyAddresses": True,
            "ports": [{"name": f"p{port}", "port": port, "targetPort": port} for port in ports],
        },
    }
