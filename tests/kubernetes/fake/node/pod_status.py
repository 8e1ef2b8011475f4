"""The status of a Pod, from the states of its containers."""

from __future__ import annotations

from typing import Any

from kubernetes.fake.api.store import Object, timestamp

States = dict[str, dict[str, Any]]
"""Container statuses by name."""


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def initial_status(container: Object, reason: str = "ContainerCreating") -> dict[str, Any]:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "state": waiting(reason),
        "lastState": {},
        "ready": False,
        "started": False,
        "restartCount": 0,
    }


def terminated(inspected: dict[str, Any], message: str = "") -> dict[str, Any]:
    """The state of a container that has ended, from what Docker tells of it."""
    state = inspected["State"]
    code = state["ExitCode"]
    reason = "OOMKilled" if state.get("OOMKilled") else "Completed" if code == 0 else "Error"
    found = {
        "exitCode": code,
        "reason": reason,
        "startedAt": _whole_seconds(state["StartedAt"]),
        "finishedAt": _whole_seconds(state["FinishedAt"]),
        "containerID": f"containerd://{inspected['Id']}",
    }
    return {"terminated": {**found, **({"message": message} if message else {})}}


def not_started(container_id: str, message: str) -> dict[str, Any]:
    """The state of a container whose program could not be started; the real one says that it was in 1970."""
    found = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z", "finishedAt": timestamp()}
    return {"terminated": {**found, "containerID": f"containerd://{container_id}", "message": message}}


def _whole_seconds(text: str) -> str:
    return f"{text[:19]}Z"


def find_phase(states: States, *, policy: str) -> str:
    """The phase of a Pod that has been given to a node."""
    kinds = [next(iter(status["state"])) for status in states.values()]
    if all(kind == "terminated" for kind in kinds) and policy != "Always":
        codes = [status["state"]["terminated"]["exitCode"] for status in states.values()]
        if policy == "Never" or not any(codes):
            return "Failed" if any(codes) else "Succeeded"
    if all(
        kind == "waiting" and not status["restartCount"] for kind, status in zip(kinds, states.values(), strict=True)
    ):
        return "Pending"
    return "Running"


def build_conditions(old: list[dict[str, Any]], states: dict[str, str], reason: str = "") -> list[dict[str, Any]]:
    """Conditions by type; the moment of the last change stays where nothing has changed."""
    before = {one["type"]: one for one in old}
    found = []
    for kind, value in states.items():
        known = before.get(kind)
        since = known["lastTransitionTime"] if known and known["status"] == value else timestamp()
        one = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since}
        if value == "False" and reason:
            one["reason"] = reason
        found.append(one)
    return found


def ready_conditions(phase: str, states: States, *, is_initialized: bool) -> tuple[dict[str, str], str]:
    is_ready = phase == "Running" and all(status["ready"] for status in states.values())
    ready = "True" if is_ready else "False"
    reason = "PodCompleted" if phase == "Succeeded" else "PodFailed" if phase == "Failed" else "ContainersNotReady"
    initialized = "True" if is_initialized else "False"
    facts = {"PodReadyToStartContainers": "True" if phase == "Running" else "False", "Initialized": initialized}
    return {**facts, "Ready": ready, "ContainersReady": ready, "PodScheduled": "True"}, reason
