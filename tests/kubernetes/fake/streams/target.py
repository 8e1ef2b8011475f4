"""The container that a stream is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubernetes.fake.api.server import Request
from kubernetes.fake.api.status import bad_request
from kubernetes.fake.api.store import Object
from kubernetes.fake.node.kubelet import Kubelet
from kubernetes.fake.node.pod_worker import PodWorker


@dataclass
class Target:
    pod: Object
    container: Object
    worker: PodWorker | None

    @property
    def name(self) -> str:
        return str(self.container["name"])

    @property
    def status(self) -> dict[str, Any]:
        found = self.pod["status"]
        states = [*(found.get("initContainerStatuses") or ()), *(found.get("containerStatuses") or ())]
        return next(
            (one for one in states if one["name"] == self.name), {"state": {"waiting": {"reason": "ContainerCreating"}}}
        )

    @property
    def container_id(self) -> str:
        """The id that Docker knows it by; empty where it was not made yet."""
        return self.worker.ids.get(self.name, "") if self.worker else ""


def find_target(kubelet: Kubelet, request: Request) -> Target:
    pod = kubelet.node.store.get("pods", request.namespace, request.name)
    spec = pod["spec"]
    everything = [*spec["containers"], *(spec.get("initContainers") or ())]
    wanted = request.first().get("container", "")
    if not wanted and len(everything) > 1 and request.part == "log":
        names = " ".join(one["name"] for one in spec["containers"])
        first = " ".join(one["name"] for one in spec.get("initContainers") or ())
        more = f" or one of the init containers: [{first}]" if first else ""
        raise bad_request(f"a container name must be specified for pod {request.name}, choose one of: [{names}]{more}")
    container = next((one for one in everything if one["name"] == wanted), everything[0] if not wanted else None)
    if container is None:
        raise bad_request(f"container {wanted} is not valid for pod {request.name}")
    return Target(pod, container, kubelet.workers.get(pod["metadata"]["uid"]))
