"""The Pods behind each port of a Service, told to the proxy a while after it is so."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

from kubernetes.fake.api.store import Object, Store
from kubernetes.fake.node.network import Network

LAG_S = (1.1, 1.8)
"""A Service answers so much later than its Pod, as measured on a real node."""

Port = tuple[str, int]
Targets = list[tuple[str, int, int]]


class Services:
    def __init__(self, store: Store, network: Network, find_process: Callable[[str], int | None]) -> None:
        self._store = store
        self._network = network
        self._find_process = find_process
        self._due: dict[Port, tuple[Targets | None, float]] = {}
        self._served: dict[Port, Targets] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            wanted = dict(self._find_ports())
            now = time.monotonic()
            for port in {*wanted, *self._served, *self._due}:
                self._schedule(port, wanted.get(port), now)
            for port, (targets, due) in list(self._due.items()):
                if due <= now:
                    del self._due[port]
                    self._network.serve(*port, targets)
                    if targets is None:
                        self._served.pop(port, None)
                    else:
                        self._served[port] = targets

    def _schedule(self, port: Port, targets: Targets | None, now: float) -> None:
        known = self._due[port][0] if port in self._due else self._served.get(port)
        if known != targets:
            self._due[port] = (targets, now + random.uniform(*LAG_S))

    def _find_ports(self) -> Iterator[tuple[Port, Targets]]:
        pods = self._store.find_all("pods")
        for service in self._store.find_all("services"):
            spec = service["spec"]
            if spec.get("clusterIP") in (None, "", "None"):
                continue
            behind = [pod for pod in pods if _is_behind(service, pod)]
            for port in spec.get("ports") or ():
                yield (spec["clusterIP"], port["port"]), [*self._find_targets(behind, port["targetPort"])]

    def _find_targets(self, pods: list[Object], wanted: int | str) -> Iterator[tuple[str, int, int]]:
        for pod in pods:
            number = wanted if isinstance(wanted, int) else _find_named_port(pod, wanted)
            process = self._find_process(pod["metadata"]["uid"])
            if number and process:
                yield pod["status"]["podIP"], number, process


def _is_behind(service: Object, pod: Object) -> bool:
    spec, meta, found = service["spec"], pod["metadata"], pod["status"]
    selector, labels = spec.get("selector") or {}, meta.get("labels") or {}
    if not selector or meta["namespace"] != service["metadata"]["namespace"] or "deletionTimestamp" in meta:
        return False
    if not found.get("podIP") or found["phase"] in ("Succeeded", "Failed"):
        return False
    is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in found.get("conditions") or ())
    return (is_ready or spec.get("publishNotReadyAddresses", False)) and selector.items() <= labels.items()


def _find_named_port(pod: Object, name: str) -> int | None:
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name") == name:
                return int(port["containerPort"])
    return None
