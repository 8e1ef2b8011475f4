"""Values that the server writes into what a request leaves out."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable

from kubernetes.fake.api import status
from kubernetes.fake.api.kinds import Kind
from kubernetes.fake.api.store import Object, timestamp

_SYLLABLES = "bcdfghjklmnpqrstvwxz2456789"


def set_metadata(kind: Kind, namespace: str, body: Object) -> None:
    """Check the parts of an object that say what and where it is, and fill them in."""
    if body.get("kind", kind.name) != kind.name:
        text = f'{body["kind"]} in version "{body.get("apiVersion")}" cannot be handled as a {kind.name}'
        raise status.bad_request(text)
    body["kind"], body["apiVersion"] = kind.name, kind.api_version
    meta = body.setdefault("metadata", {})
    if meta.get("generateName") and not meta.get("name"):
        meta["name"] = meta["generateName"] + "".join(secrets.choice(_SYLLABLES) for _ in range(5))
    if not meta.get("name"):
        errors = [("metadata.name", "FieldValueRequired", "Required value: name or generateName is required")]
        raise status.invalid(kind.name, "", errors)
    if kind.is_namespaced:
        if meta.get("namespace", namespace) != namespace:
            text = "the namespace of the provided object does not match the namespace sent on the request"
            raise status.bad_request(text)
        meta["namespace"] = namespace
    for key in ("labels", "annotations", "ownerReferences"):
        if key in meta and not meta[key]:
            del meta[key]


def set_defaults(kind: Kind, body: Object, allocate_address: Callable[[], str]) -> None:
    if kind.name == "Pod":
        _set_pod_defaults(body)
    if kind.name == "Service":
        _set_service_defaults(body.setdefault("spec", {}), allocate_address)
    if kind.name == "Secret":
        _move_texts(body)
        body.setdefault("type", "Opaque")
    if kind.name == "Namespace":
        body.setdefault("spec", {"finalizers": ["kubernetes"]})
        body["status"] = {"phase": "Active"}
        body["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = body["metadata"]["name"]


def _move_texts(body: Object) -> None:
    texts = body.pop("stringData", None) or {}
    if texts:
        body["data"] = {
            **(body.get("data") or {}),
            **{k: base64.b64encode(v.encode()).decode() for k, v in texts.items()},
        }


def _set_service_defaults(spec: Object, allocate_address: Callable[[], str]) -> None:
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    if not spec.get("clusterIP"):
        spec["clusterIP"] = allocate_address()
    spec["clusterIPs"] = [spec["clusterIP"]]
    for key, value in (("type", "ClusterIP"), ("sessionAffinity", "None"), ("internalTrafficPolicy", "Cluster")):
        spec.setdefault(key, value)
    spec.update(ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")


def _set_pod_defaults(body: Object) -> None:
    spec = body.setdefault("spec", {})
    values = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "securityContext": {},
    }
    for key, value in values.items():
        spec.setdefault(key, value)
    spec["serviceAccountName"] = spec["serviceAccount"] = spec.get("serviceAccountName") or "default"
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        image = container.get("image") or ""
        is_newest = image.endswith(":latest") or (":" not in image.rpartition("/")[2] and "@" not in image)
        container.setdefault("imagePullPolicy", "Always" if is_newest else "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
        limits = container["resources"].get("limits") or {}
        if limits:
            container["resources"]["requests"] = {**limits, **(container["resources"].get("requests") or {})}
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")
    for volume in spec.get("volumes") or ():
        for source in ("secret", "configMap", "projected", "downwardAPI"):
            if isinstance(volume.get(source), dict):
                volume[source].setdefault("defaultMode", 0o644)
    body["status"] = {"phase": "Pending", "qosClass": _quality(spec)}
    if spec.get("schedulingGates"):
        message = "Scheduling is blocked due to non-empty scheduling gates"
        condition = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message}
        body["status"]["conditions"] = [{**condition, "lastProbeTime": None, "lastTransitionTime": timestamp()}]


def _quality(spec: Object) -> str:
    resources = [container.get("resources") or {} for container in spec.get("containers") or ()]
    if not any(found.get("limits") or found.get("requests") for found in resources):
        return "BestEffort"
    is_whole = all(
        set(found.get("limits") or {}) >= {"cpu", "memory"} and found["limits"] == found.get("requests")
        for found in resources
    )
    return "Guaranteed" if is_whole else "Burstable"
