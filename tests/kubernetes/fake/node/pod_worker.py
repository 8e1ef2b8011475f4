"""The life of one Pod on the node."""

from __future__ import annotations

import shutil
import threading
import time
from calendar import timegm
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import docker

from kubernetes.fake.api.store import Object, timestamp
from kubernetes.fake.node.container_start import ContainerStart, Doomed, Node
from kubernetes.fake.node.environment import ConfigError
from kubernetes.fake.node.events import tell_event
from kubernetes.fake.node.pod_status import (
    States,
    build_conditions,
    find_phase,
    initial_status,
    ready_conditions,
    terminated,
)
from kubernetes.fake.node.stopping import remove_container, stop_container

_NOTICED_S = 1.0
"""A kubelet sees so late that a container has died: it looks once a second."""
_CRASH_BACK_OFF_S = (1.2, 13.0, 24.0, 40.0, 80.0, 160.0, 300.0)


class PodWorker:
    def __init__(self, node: Node, pod: Object) -> None:
        self.node = node
        self.pod = pod
        self.uid = pod["metadata"]["uid"]
        self.ids: dict[str, str] = {}
        self.previous: dict[str, str] = {}
        self.process = 0  # of the container that the Pod's network is of
        self._has_address = False
        self.address = node.network.allocate_pod_address()
        self._lock = threading.RLock()
        self._doomed = threading.Event()
        self._exited: set[str] = set()
        self._failure: tuple[str, str] | None = None
        self._init_states: States = {c["name"]: initial_status(c) for c in pod["spec"].get("initContainers") or ()}
        reason = "PodInitializing" if self._init_states else "ContainerCreating"
        self._states: States = {c["name"]: initial_status(c, reason) for c in pod["spec"]["containers"]}
        self._is_initialized = not self._init_states
        self._ending: threading.Thread | None = None
        self._starting = threading.Thread(target=self._start, daemon=True)

    def begin(self) -> None:
        self._publish()
        self._starting.start()

    # Start

    def _start(self) -> None:
        with suppress(Doomed):
            self._prepare_volumes()
            for container in self.pod["spec"].get("initContainers") or ():
                self._run_first(container)
            self._is_initialized = True
            for container in self.pod["spec"]["containers"]:
                self._start_container(container, 0)

    def _prepare_volumes(self) -> None:
        volumes = self._starter(self.pod["spec"]["containers"][0]).volumes()
        while True:
            try:
                volumes.prepare()
                return
            except ConfigError as error:
                tell_event(self.node.store, self.pod, "FailedMount", str(error))
            if self._doomed.wait(1):
                raise Doomed

    def _run_first(self, container: Object) -> None:
        """Run an init container to its end, as often as it takes."""
        name = container["name"]
        for number in range(10**6):
            self._start_container(container, number)
            while "terminated" not in self._init_states[name]["state"]:
                if self._doomed.wait(0.05):
                    raise Doomed
            if self._init_states[name]["state"]["terminated"]["exitCode"] == 0:
                remove_container(self.node, self.ids.pop(name))
                return
            if self.pod["spec"]["restartPolicy"] == "Never":
                self._fail("", "")
                raise Doomed
            if self._doomed.wait(_CRASH_BACK_OFF_S[min(number, len(_CRASH_BACK_OFF_S) - 1)]):
                raise Doomed
            remove_container(self.node, self.ids.pop(name))

    def _starter(self, container: Object) -> ContainerStart:
        def tell(state: dict[str, Any], container_id: str = "") -> None:
            with self._lock:
                if container_id:
                    self.ids[container["name"]] = container_id
                self._set_state(container["name"], state)

        pod = {**self.pod, "status": {**self.pod["status"], "podIP": self.address, "hostIP": self.node.network.gateway}}
        return ContainerStart(self.node, pod, self.address, container, self._doomed.wait, tell)

    def _start_container(self, container: Object, number: int) -> None:
        name = container["name"]
        joined = next((one for other, one in self.ids.items() if other != name and other in self._states), "")
        container_id = self._starter(container).start(number, joined)
        if "terminated" in self._status(name)["state"]:
            self._publish()
            return
        inspected = self.node.client.inspect_container(container_id)
        with self._lock:
            self._has_address = True
            if not joined:
                self.process = inspected["State"]["Pid"]
            status = self._status(name)
            status.update(ready=True, started=True, imageID=inspected["Image"])
            status["containerID"] = f"containerd://{container_id}"
            self._set_state(name, {"running": {"startedAt": f"{inspected['State']['StartedAt'][:19]}Z"}})
            if container_id in self._exited:
                self._finish(name, container_id)

    # Death

    def on_exit(self, container_id: str) -> None:
        """Take note that a container has died, as late as a kubelet does."""

        def notice() -> None:
            with self._lock:
                self._exited.add(container_id)
                for name, known in self.ids.items():
                    if known == container_id and "running" in self._status(name)["state"]:
                        self._finish(name, container_id)

        timer = threading.Timer(_NOTICED_S, notice)
        timer.daemon = True
        timer.start()

    def _finish(self, name: str, container_id: str) -> None:
        try:
            inspected = self.node.client.inspect_container(container_id)
        except docker.errors.NotFound:
            return
        container = next(one for one in self._all_containers() if one["name"] == name)
        with suppress(OSError):
            message = self._starter(container).termination_log().read_text(errors="replace")[:4096]
        if inspected["HostConfig"]["NetworkMode"] == self.node.network.name:
            self.process = 0
        status = self._status(name)
        status.update(ready=False, started=False)
        self._set_state(name, terminated(inspected, message))
        code, policy = inspected["State"]["ExitCode"], self.pod["spec"]["restartPolicy"]
        if (
            name in self._states
            and (policy == "Always" or (policy == "OnFailure" and code))
            and not self._doomed.is_set()
        ):
            threading.Thread(target=self._restart, args=(container,), daemon=True).start()

    def _restart(self, container: Object) -> None:
        name = container["name"]
        with self._lock:
            status = self._status(name)
            number = status["restartCount"]
            status["lastState"] = status["state"]
            pause = _CRASH_BACK_OFF_S[min(number, len(_CRASH_BACK_OFF_S) - 1)]
            if number:
                self._set_state(name, {"waiting": {"reason": "CrashLoopBackOff", "message": f"back-off {pause:.0f}s"}})
            old, self.previous[name] = self.previous.get(name), self.ids[name]
        if old:
            remove_container(self.node, old)
        with suppress(Doomed):
            if not self._doomed.wait(pause):
                status["restartCount"] = number + 1
                self._start_container(container, number + 1)

    # End

    def end(self) -> None:
        """Stop all of it, in a thread of its own; safe to repeat."""
        with self._lock:
            if self._ending is None:
                self._doomed.set()
                self._ending = threading.Thread(target=self._end, daemon=True)
                self._ending.start()

    def is_gone(self) -> bool:
        return self._ending is not None and not self._ending.is_alive()

    def join(self) -> None:
        if self._ending:
            self._ending.join()

    def _end(self) -> None:
        if self._starting.ident:
            self._starting.join()
        self._stop_all()
        for container_id in {*self.ids.values(), *self.previous.values()}:
            remove_container(self.node, container_id)
        self.node.network.release(self.address)
        shutil.rmtree(self.node.folder / self.uid, ignore_errors=True)
        self.node.store.remove("pods", self.pod)

    def _stop_all(self) -> None:
        started = time.time()
        with ThreadPoolExecutor(max_workers=len(self._all_containers())) as pool:
            for container_id in self.ids.values():
                pool.submit(stop_container, self.node, container_id, lambda: self._grace_left(started))
        with self._lock:
            for name, container_id in self.ids.items():
                if "running" in self._status(name)["state"]:
                    self._finish(name, container_id)

    def _grace_left(self, started: float) -> float:
        meta = self.pod["metadata"]
        now = self.node.store.find("pods", meta["namespace"], meta["name"])
        if now is None or now["metadata"]["uid"] != self.uid:
            return 0
        grace = now["metadata"].get("deletionGracePeriodSeconds")
        if grace is None:  # past its deadline, not deleted
            return started + float(now["spec"]["terminationGracePeriodSeconds"]) - time.time()
        return started + float(grace) - time.time()

    def fail(self, reason: str, message: str) -> None:
        """End the containers, and keep the Pod as one that has failed."""
        if self._failure is None:
            self._failure = (reason, message)
            self._doomed.set()
            threading.Thread(target=self._fail, args=(reason, message), daemon=True).start()

    def _fail(self, reason: str, message: str) -> None:
        self._failure = (reason, message)
        self._stop_all()
        self._publish()

    def is_overdue(self) -> bool:
        """True when it has been active for longer than it may."""
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        started = self.pod["status"].get("startTime")
        if not seconds or not started or self._phase() in ("Succeeded", "Failed"):
            return False
        return time.time() > timegm(time.strptime(started, "%Y-%m-%dT%H:%M:%SZ")) + seconds

    # State

    def _all_containers(self) -> list[Object]:
        return [*(self.pod["spec"].get("initContainers") or ()), *self.pod["spec"]["containers"]]

    def _status(self, name: str) -> dict[str, Any]:
        return self._states[name] if name in self._states else self._init_states[name]

    def _set_state(self, name: str, state: dict[str, Any]) -> None:
        self._status(name)["state"] = state
        self._publish()

    def _phase(self) -> str:
        return (
            "Failed"
            if self._failure is not None
            else find_phase(self._states, policy=self.pod["spec"]["restartPolicy"])
        )

    def _publish(self) -> None:
        """Write the status into the Pod."""
        with self._lock:
            phase = self._phase()
            kinds, reason = ready_conditions(phase, self._states, is_initialized=self._is_initialized)
            failure = dict(zip(("reason", "message"), self._failure or (), strict=False))

            def write(now: Object) -> None:
                status = now["status"]
                status.setdefault("startTime", timestamp())
                status.update(phase=phase, hostIP=self.node.network.gateway, **{k: v for k, v in failure.items() if v})
                if self._has_address:
                    status.update(podIP=self.address, podIPs=[{"ip": self.address}])
                status["conditions"] = build_conditions(status.get("conditions") or [], kinds, reason)
                status["containerStatuses"] = [dict(one) for one in self._states.values()]
                if self._init_states:
                    status["initContainerStatuses"] = [dict(one) for one in self._init_states.values()]

            self.pod = self.node.store.update_if_there("pods", self.pod, write) or self.pod
