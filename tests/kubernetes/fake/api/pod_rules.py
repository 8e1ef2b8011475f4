"""Rules for the specs of Pods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kubernetes.fake.api.names import (
    FORBIDDEN,
    LABEL,
    LABEL_TEXT,
    REQUIRED,
    SUBDOMAIN,
    SUBDOMAIN_TEXT,
    Errors,
    invalid,
    match,
)
from kubernetes.fake.api.quantities import parse_quantity

Spec = Mapping[str, Any]
DUPLICATE = "FieldValueDuplicate"
_PORTS = "must be between 1 and 65535, inclusive"
_SECONDS = "must be between 1 and 2147483647, inclusive"
_CHANGES = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod(spec: Spec) -> Errors:
    if not spec.get("containers"):
        yield "spec.containers", REQUIRED, "Required value"
    volumes = [volume.get("name") for volume in spec.get("volumes") or ()]
    names: list[Any] = []
    for number, name in enumerate(volumes):
        yield from match(f"spec.volumes[{number}].name", name or "", LABEL, LABEL_TEXT, 63)
        if name in volumes[:number]:
            yield f"spec.volumes[{number}].name", DUPLICATE, f'Duplicate value: "{name}"'
    for place in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(place) or ()):
            yield from _check_container(f"spec.{place}[{number}]", container, volumes)
            if container.get("name") in names:
                yield f"spec.{place}[{number}].name", DUPLICATE, f'Duplicate value: "{container["name"]}"'
            names.append(container.get("name"))
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= 2147483647:
        yield invalid("spec.activeDeadlineSeconds", seconds, _SECONDS)
    for number, alias in enumerate(spec.get("hostAliases") or ()):
        for at, name in enumerate(alias.get("hostnames") or ()):
            yield from match(f"spec.hostAliases[{number}].hostnames[{at}]", name, SUBDOMAIN, SUBDOMAIN_TEXT, 253)
    if spec.get("hostname"):
        yield from match("spec.hostname", spec["hostname"], LABEL, LABEL_TEXT, 63)
    if spec.get("restartPolicy", "Always") not in ("Always", "OnFailure", "Never"):
        text = 'supported values: "Always", "Never", "OnFailure"'
        yield "spec.restartPolicy", "FieldValueNotSupported", f'Unsupported value: "{spec["restartPolicy"]}": {text}'


def _check_container(field: str, container: Spec, volumes: list[Any]) -> Errors:
    if not container.get("name"):
        yield f"{field}.name", REQUIRED, "Required value"
    else:
        yield from match(f"{field}.name", container["name"], LABEL, LABEL_TEXT, 63)
    if not container.get("image"):
        yield f"{field}.image", REQUIRED, "Required value"
    elif container["image"] != container["image"].strip():
        yield invalid(f"{field}.image", container["image"], "must not have leading or trailing whitespace")
    paths: list[str] = []
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        at = f"{field}.volumeMounts[{number}]"
        if mount.get("name") not in volumes:
            yield f"{at}.name", "FieldValueNotFound", f'Not found: "{mount.get("name")}"'
        if mount.get("mountPath") in paths:
            yield invalid(f"{at}.mountPath", mount.get("mountPath"), "must be unique")
        elif not mount.get("mountPath"):
            yield f"{at}.mountPath", REQUIRED, "Required value"
        elif ":" in mount["mountPath"]:
            yield invalid(f"{at}.mountPath", mount["mountPath"], "must not contain ':'")
        paths.append(mount.get("mountPath", ""))
        part = mount.get("subPath", "")
        if part.startswith("/"):
            yield invalid(f"{at}.subPath", part, "must be a relative path")
        if ".." in part.split("/"):
            yield invalid(f"{at}.subPath", part, "must not contain '..'")
    for number, port in enumerate(container.get("ports") or ()):
        if not 0 < int(port.get("containerPort") or 0) < 65536:
            yield invalid(f"{field}.ports[{number}].containerPort", port.get("containerPort", 0), _PORTS)
    yield from _check_resources(f"{field}.resources", container.get("resources") or {})
    for number, variable in enumerate(container.get("env") or ()):
        name = variable.get("name") or ""
        if not name:
            yield f"{field}.env[{number}].name", REQUIRED, "Required value"
        elif "=" in name or not name.isprintable() or not name.isascii():
            text = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            yield invalid(f"{field}.env[{number}].name", name, text)


def _check_resources(field: str, resources: Spec) -> Errors:
    limits, requests = (resources.get(key) or {} for key in ("limits", "requests"))
    for what, amount in requests.items():
        if what in limits and parse_quantity(amount) > parse_quantity(limits[what]):
            text = f"must be less than or equal to {what} limit of {limits[what]}"
            yield invalid(f"{field}.requests", str(amount), text)


def check_pod_update(old: Mapping[str, Any], new: Spec) -> Errors:
    def fixed(spec: Mapping[str, Any]) -> str:
        may_change = (
            *("activeDeadlineSeconds", "tolerations", "nodeName", "terminationGracePeriodSeconds"),
            "schedulingGates",  # gates may be taken away
        )
        kept = {key: value for key, value in spec.items() if key not in may_change}
        for place in ("containers", "initContainers"):
            kept[place] = [{**container, "image": ""} for container in spec.get(place) or ()]
        return json.dumps(kept, sort_keys=True)

    gates = [gate["name"] for gate in old.get("schedulingGates") or ()]
    for gate in new.get("schedulingGates") or ():
        if gate["name"] not in gates:
            text = f"Forbidden: only deletion is allowed, but found new scheduling gate '{gate['name']}'"
            yield "spec.schedulingGates", FORBIDDEN, text
    if fixed(old) != fixed(new):
        yield "spec", FORBIDDEN, f"Forbidden: {_CHANGES}"
