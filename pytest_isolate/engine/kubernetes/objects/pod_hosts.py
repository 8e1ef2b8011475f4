"""Networks as names: which pods are on which, and the table of hosts of each. Pure.

A pod carries a label for each of its networks, by which its neighbours are found, and an annotation with its names
there. Its table leads from the plain names of its neighbours, underscores and capitals included, to their addresses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_isolate.engine.kubernetes.objects.manifests import HOSTNAMES, MEMBER, NETWORKS
from pytest_isolate.engine.kubernetes.objects.object_labels import annotation

_LOOPBACK = ("127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback")


def read_networks(pod: Mapping[str, Any]) -> dict[str, list[str]]:
    """The networks that a pod is on, each with its names there."""
    text = annotation(pod, NETWORKS)
    return dict(json.loads(text)) if text else {}


def describe_networks(networks: Mapping[str, Sequence[str]], left: Sequence[str] = ()) -> dict[str, Any]:
    """The part of a pod's metadata that says so; of networks that it has left, the label goes."""
    labels: dict[str, Any] = {f"{MEMBER}/{network}": "" for network in networks}
    labels |= {f"{MEMBER}/{network}": None for network in left if network not in networks}
    return {"labels": labels, "annotations": {NETWORKS: json.dumps({name: [*networks[name]] for name in networks})}}


def select_members(network: str) -> dict[str, str]:
    """The part of an address that selects the pods of a network."""
    return {"labelSelector": f"{MEMBER}/{network}"}


def pod_address(pod: Mapping[str, Any]) -> str:
    """The address of a pod; empty before it has one."""
    return str((pod.get("status") or {}).get("podIP") or "")


def build_hosts(pod: Mapping[str, Any], neighbours: Sequence[Mapping[str, Any]]) -> str:
    """The table of hosts of a pod: itself, its neighbours, and what it was declared to know."""
    own, name = read_networks(pod), pod["metadata"]["name"]
    names = [pod["spec"].get("hostname") or name, *(alias for aliases in own.values() for alias in aliases)]
    lines = [*_LOOPBACK, f"{pod_address(pod)}\t{' '.join(dict.fromkeys(names))}"]
    for other in sorted(neighbours, key=lambda pod: str(pod["metadata"]["name"])):
        if other["metadata"]["name"] == name or not pod_address(other):
            continue
        shared = [alias for network, aliases in read_networks(other).items() if network in own for alias in aliases]
        if shared:
            lines.append(f"{pod_address(other)}\t{' '.join(dict.fromkeys(shared))}")
    declared = [line.replace(" ", "\t", 1) for line in annotation(pod, HOSTNAMES).splitlines()]
    return "\n".join([*lines, *declared, ""])
