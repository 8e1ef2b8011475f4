"""The pod that this process runs in, as the owner of its runs: when it is deleted, the cluster removes them too."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.errors import EngineError


def find_own_pod(client: ClusterClient, env: Mapping[str, str]) -> Mapping[str, str] | None:
    """A reference to it; None where it is of another namespace, or another pod might be meant.

    It has to be certain: what is owned by a pod that does not exist is removed at once.
    """
    if client.cluster.context:
        return None  # a kubeconfig names the cluster, which may be another one
    name = env.get("POD_NAME") or socket.gethostname()
    try:
        pod = client.get(client.pod_path(name))
        if _own_address(client.cluster.server) not in _addresses(pod):
            return None
    except (EngineError, OSError, ValueError):
        return None
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": str(pod["metadata"]["uid"])}


def _own_address(server: str) -> Any:
    """The address by which this process is known to the API server. Nothing is sent."""
    parts = urlsplit(server)
    family, kind, _, _, target = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as sock:
        sock.connect(target)
        return ipaddress.ip_address(sock.getsockname()[0])


def _addresses(pod: Mapping[str, Any]) -> list[Any]:
    return [ipaddress.ip_address(found["ip"]) for found in (pod.get("status") or {}).get("podIPs") or ()]
