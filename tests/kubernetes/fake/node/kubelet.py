"""The scheduler and the kubelet: Pods get the one node that there is, and become containers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import docker

from kubernetes.fake.api.quantities import parse_quantity
from kubernetes.fake.api.store import Object, timestamp
from kubernetes.fake.node.container_start import POD_LABEL, Node
from kubernetes.fake.node.events import tell_event
from kubernetes.fake.node.network import LABEL, remove_network
from kubernetes.fake.node.pod_worker import PodWorker

NODE_NAME = "fake-node"
_ENDED = ("Succeeded", "Failed")
_NODE_LABELS = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": NODE_NAME}


class Kubelet:
    """`capacity` is what the node has of cpu, memory and pods; `is_full` makes every Pod wait for another node."""

    def __init__(self, node: Node, capacity: dict[str, str]) -> None:
        self.node = node
        self.capacity = capacity
        self.is_full = False
        self.workers: dict[str, PodWorker] = {}
        self._ended = threading.Event()
        self._events = node.client.events(decode=True, filters={"event": "die", "label": f"{LABEL}={node.cluster}"})
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._sync, self._follow_deaths)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Remove every container."""
        self._ended.set()
        self._threads[0].join()
        for worker in list(self.workers.values()):
            with self.node.store.changed:
                self.node.store.remove("pods", worker.pod)
            worker.end()
        for worker in list(self.workers.values()):
            worker.join()
        self._events.close()

    def find_process(self, uid: str) -> int | None:
        """The process id of a Pod's first container, while it runs."""
        worker = self.workers.get(uid)
        return worker.process if worker else None

    def _follow_deaths(self) -> None:
        # The stream is closed from another thread when all is over.
        with suppress(Exception):
            for event in self._events:
                worker = self.workers.get(event["Actor"]["Attributes"].get(POD_LABEL, ""))
                if worker:
                    worker.on_exit(event["id"])

    def _sync(self) -> None:
        store = self.node.store
        seen = 0
        while not self._ended.is_set():
            with store.changed:
                if store.version == seen:
                    store.changed.wait(0.2)
                seen = store.version
            pods = {pod["metadata"]["uid"]: pod for pod in store.find_all("pods")}
            for uid, worker in list(self.workers.items()):
                pod = pods.get(uid)
                if pod is None or "deletionTimestamp" in pod["metadata"]:
                    worker.end()
                elif worker.is_overdue():
                    worker.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
                if pod is None and worker.is_gone():
                    del self.workers[uid]
            for uid, pod in pods.items():
                if uid not in self.workers and "deletionTimestamp" not in pod["metadata"]:
                    self._schedule(pod)

    def _schedule(self, pod: Object) -> None:
        if pod["spec"].get("schedulingGates"):
            return
        reasons = [*self._find_obstacles(pod)]
        if reasons:
            self._mark_unschedulable(pod, f"0/1 nodes are available: {', '.join(reasons)}.")
            return

        def bind(now: Object) -> None:
            now["spec"]["nodeName"] = NODE_NAME

        bound = self.node.store.update_if_there("pods", pod, bind)
        if bound:
            self.workers[pod["metadata"]["uid"]] = worker = PodWorker(self.node, bound)
            worker.begin()

    def _find_obstacles(self, pod: Object) -> Iterator[str]:
        spec = pod["spec"]
        if self.is_full:
            yield "1 node(s) were unschedulable"
        if not (spec.get("nodeSelector") or {}).items() <= _NODE_LABELS.items():
            yield "1 node(s) didn't match Pod's node affinity/selector"
        for volume in spec.get("volumes") or ():
            if "persistentVolumeClaim" in volume:
                yield f'persistentvolumeclaim "{volume["persistentVolumeClaim"]["claimName"]}" not found'
        others = [
            worker.pod
            for worker in self.workers.values()
            if worker.pod["status"]["phase"] not in _ENDED and not worker.is_gone()
        ]
        if len(others) >= int(self.capacity["pods"]):
            yield "1 Too many pods"
        for what in ("cpu", "memory"):
            used = sum((_requested(other, what) for other in others), Fraction(0))
            if used + _requested(pod, what) > parse_quantity(self.capacity[what]):
                yield f"1 Insufficient {what}"

    def _mark_unschedulable(self, pod: Object, message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}

        def mark(now: Object) -> None:
            known = (now["status"].get("conditions") or [{}])[0]
            since = known.get("lastTransitionTime") or timestamp()
            now["status"]["conditions"] = [{**condition, "lastProbeTime": None, "lastTransitionTime": since}]

        self.node.store.update_if_there("pods", pod, mark)
        tell_event(self.node.store, pod, "FailedScheduling", message)


def _requested(pod: Object, what: str) -> Fraction:
    amounts: list[Any] = [
        ((one.get("resources") or {}).get("requests") or {}).get(what, "0") for one in pod["spec"]["containers"]
    ]
    return sum(map(parse_quantity, amounts), Fraction(0))


def remove_leftovers(client: Any, cluster: str) -> None:
    """Remove what a fake cluster has on Docker whose process was killed."""
    only = {"label": f"{LABEL}={cluster}"}
    for container in client.containers(all=True, filters=only):
        with suppress(docker.errors.NotFound):
            client.remove_container(container["Id"], force=True, v=True)
    for network in client.networks(filters=only):
        remove_network(client, network["Id"])
