"""Refusals of a cluster, and states of pods that do not come up, as errors that say what to do. Pure.

The words of the cluster are always shown whole: they name the policy, and what of the pod is against it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.engine.kubernetes.api_errors import ApiError
from pytest_isolate.errors import EngineError, ImageNotFound, Lines

_NOT_ROOT = "give it a user that is not root: user='1000:1000', where its image can run so"
_MEMORY = "memory= and cpus= of the service say what it asks for"
_LONGER = "where room comes later, as from an autoscaler, wait longer: --isolate-pod-wait=10m"
_TEMPLATE = "--isolate-pod-template=FILE adds to every pod what the cluster asks for"
_NO_IMAGE = ("not found", "manifest unknown", "does not exist", "name unknown")
_NO_ACCESS = ("unauthorized", "denied", "forbidden", "authentication required")
_AGAIN = ("429", "toomanyrequests", "too many requests")
# States that no waiting mends (kubelet's own reasons).
_FINAL = (
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
_PULLING = ("ErrImagePull", "ImagePullBackOff")


class NoRoomYet(EngineError):
    """The namespace, or its nodes, have no room at this moment: others may end, or a node may come."""

    def after(self, waited_s: float) -> NoRoomYet:
        """The same, told with the time that it was waited for."""
        return NoRoomYet(
            self.what, tried=f"{self.tried}, for {waited_s:g} s", found=self.found, do=[*as_lines(self.do), _LONGER]
        )


class Trouble(Struct, frozen=True, kw_only=True):
    """Reason why a pod is not there yet. One that is final is not waited for."""

    error: EngineError
    is_final: bool


def as_lines(text: Lines) -> Sequence[str]:
    """The lines of a part of an error."""
    return text.splitlines() if isinstance(text, str) else text


def explain_refusal(error: ApiError, request: ContainerRequest, namespace: str) -> EngineError:
    """The error of a pod that the cluster did not take; the same one where its own words say all."""
    what = f"container {request.name} was refused in namespace {namespace!r}"
    if error.reason == "AlreadyExists":
        what, do = f"container {request.name} could not be made", "remove the other one first"
        return EngineError(what, found="its name is already in use", do=do)
    if error.status != 403:
        return error
    if "exceeded quota" in error.message:
        what = f"container {request.name} has no room in namespace {namespace!r}: its quota is full"
        do = f"end what else runs there: kubectl -n {namespace} get pods; or have the quota raised"
        return NoRoomYet(what, tried="create its pod", found=error.message, do=[do, _MEMORY])
    reason, ways = _reason_of(error.message)
    return EngineError(f"{what}: {reason}" if reason else what, found=error.message, do=error.do or ways)


def _reason_of(text: str) -> tuple[str, Sequence[str]]:
    """The kind of policy that a pod is against, and ways out."""
    level = re.search(r'violates PodSecurity "([a-z]+)', text)
    if level:
        return f"it is against its Pod Security level {level[1]!r}", _do_for_security(text)
    if "failed quota" in text and "must specify" in text:
        do = f"declare memory= and cpus=, or have a LimitRange give them; {_TEMPLATE}"
        return "its quota wants limits to be named", [do]
    if re.search(r"(maximum|minimum) \S+ usage per|limit to request ratio", text):
        return "it is against its LimitRange", [_MEMORY]
    if "admission webhook" in text or "ValidatingAdmissionPolicy" in text:
        return "a policy of the cluster is against it", [_TEMPLATE]
    return "", [_TEMPLATE]


def _do_for_security(text: str) -> Sequence[str]:
    ways = []
    if "runAsNonRoot" in text or "allowPrivilegeEscalation" in text or 'drop=["ALL"]' in text:
        ways.append(_NOT_ROOT)
    if "capabilities in securityContext.capabilities.add" in text or "non-default capabilities" in text:
        ways.append("leave out cap_add=")
    if "privileged" in text.replace("PodSecurity", ""):
        ways.append("leave out privileged")
    return [*ways, "or use a namespace of a lower level: --isolate-namespace=NAME"]


# -- pods that do not come up ------------------------------------------------------------------------------------------


def find_trouble(pod: Mapping[str, Any], name: str) -> Trouble | None:
    """Reason why the container of a pod does not run; None where it only takes its time."""
    status, image = pod.get("status") or {}, pod["spec"]["containers"][0]["image"]
    for state in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        found = _find_waiting(state.get("state") or {}, name, image, pod)
        if found:
            return found
    if status.get("phase") == "Failed":
        return _failed(status, name)
    return _find_unscheduled(status, name, pod)


def _find_waiting(state: Mapping[str, Any], name: str, image: str, pod: Mapping[str, Any]) -> Trouble | None:
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    reason, text = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in (*_PULLING, "ErrImageNeverPull", "InvalidImageName"):
        return _not_pulled(reason, text, image)
    if reason in _FINAL:
        is_root = "will run as root" in text or "non-numeric user" in text
        do = _NOT_ROOT if is_root else f"see what its node says: kubectl describe pod {pod['metadata']['name']}"
        what = f"container {name} cannot be made by its node"
        if is_root:
            what = f"container {name} may not run as root here, and its image does"
        return Trouble(error=EngineError(what, found=f"{reason}: {text}", do=do), is_final=True)
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        return _not_started(str(ended.get("message", "")), name, pod)
    return None


def _not_pulled(reason: str, text: str, image: str) -> Trouble:
    said = text.lower()
    is_access = any(word in said for word in _NO_ACCESS)
    is_missing = any(word in said for word in _NO_IMAGE) or (reason != "ErrImagePull" and not said)
    is_again = any(word in said for word in _AGAIN)
    if reason == "InvalidImageName":
        what, do = "its name is none", "write it as REGISTRY/NAME:TAG"
    elif reason == "ErrImageNeverPull":
        what, do = "its node has it not, and may not pull", "load it there: kind load docker-image, k3d image import"
    elif is_again:
        what, do = (
            "its registry is asked too often",
            "wait, or pull from a mirror: --isolate-registry=mirror.example:5000",
        )
    elif is_access:
        what = "its registry gives the node no access, or has no such image"
        do = "check the name; name a pull secret of the namespace as imagePullSecrets in --isolate-pod-template"
    elif is_missing:
        what = "its registry has no such image"
        do = "check name and tag; where it is only on this machine, load it: kind load docker-image, k3d image import"
    else:
        what, do = "its node does not get it", "see whether nodes of the cluster reach its registry"
    is_final = not is_again and (is_access or is_missing or reason not in _PULLING)
    error = ImageNotFound(f"image {image} could not be pulled: {what}", found=f"{reason}: {text}", do=do)
    return Trouble(error=error, is_final=is_final)


def _not_started(text: str, name: str, pod: Mapping[str, Any]) -> Trouble:
    machine = (pod["spec"].get("nodeSelector") or {}).get("kubernetes.io/arch", "")
    do = f"see what its node says: kubectl describe pod {pod['metadata']['name']}"
    if "exec format error" in text:
        do = f"its image is not for {machine}: name a node's kind as kubernetes.io/arch in --isolate-pod-template"
    return Trouble(error=EngineError(f"container {name} did not start", found=text, do=do), is_final=True)


def _failed(status: Mapping[str, Any], name: str) -> Trouble | None:
    reason, text = str(status.get("reason", "")), str(status.get("message", ""))
    if not reason:
        return None  # its program has ended with a code
    do = {
        "Evicted": "its node was short of memory or disk: declare memory=",
        "DeadlineExceeded": "no pod of a run lives longer than a day",
        "SysctlForbidden": "leave out this sysctl, or have the cluster's nodes allow it",
    }.get(reason, "run it again; the cluster's events tell more: kubectl get events")
    error = EngineError(f"container {name} was ended by the cluster", found=f"{reason}: {text}", do=do)
    return Trouble(error=error, is_final=True)


def _find_unscheduled(status: Mapping[str, Any], name: str, pod: Mapping[str, Any]) -> Trouble | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            wanted = ", ".join(f"{k}={v}" for k, v in (pod["spec"].get("nodeSelector") or {}).items())
            error = NoRoomYet(
                f"container {name} has no node: none of the cluster's can take it",
                tried=f"nodes with {wanted}" if wanted else "any node",
                found=str(condition.get("message", "")),
                do=[
                    "give the cluster more nodes, or end what else runs there",
                    f"{_MEMORY}; tolerations and nodeSelector of --isolate-pod-template say where it may run",
                ],
            )
            return Trouble(error=error, is_final=False)
    return None
