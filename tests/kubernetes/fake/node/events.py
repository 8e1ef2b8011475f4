"""Events about Pods."""

from __future__ import annotations

from kubernetes.fake.api.store import Object, Store, timestamp


def tell_event(store: Store, pod: Object, reason: str, message: str) -> None:
    """Make an Event about a Pod, once for each text."""
    meta = pod["metadata"]
    involved = {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    name = f"{meta['name']}.{abs(hash((meta['uid'], reason, message))):x}"
    body = {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": meta["namespace"]},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": "Warning",
        "firstTimestamp": timestamp(),
        "lastTimestamp": timestamp(),
        "source": {"component": "kubelet"},
    }
    if store.find("events", meta["namespace"], name) is None:
        store.create("events", body)
