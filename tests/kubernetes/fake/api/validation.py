"""Rules for objects, with the texts of the server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kubernetes.fake.api import status
from kubernetes.fake.api.kinds import Kind
from kubernetes.fake.api.names import (
    FILE,
    FILE_TEXT,
    INVALID,
    LABEL,
    LABEL_TEXT,
    REQUIRED,
    SERVICE,
    SERVICE_TEXT,
    SUBDOMAIN,
    SUBDOMAIN_TEXT,
    TOO_LONG,
    VALUE,
    VALUE_TEXT,
    Errors,
    check_key,
    invalid,
    match,
)
from kubernetes.fake.api.pod_rules import check_pod, check_pod_update

MOST_BYTES = 1_048_576
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")


def check(kind: Kind, body: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> None:
    """Raise the server's 422 for an object that breaks its rules."""
    errors = list(_check_metadata(kind, body["metadata"]))
    if kind.name == "Pod":
        errors += check_pod(body.get("spec") or {}) if old is None else check_pod_update(old["spec"], body["spec"])
    if kind.name == "Service":
        errors += _check_service(body.get("spec") or {})
    if kind.name in ("Secret", "ConfigMap"):
        errors += _check_files(kind, body)
    if kind.name == "Lease":
        errors += _check_lease(body, old)
    if errors:
        raise status.invalid(kind.name, body["metadata"]["name"], errors)


def _check_metadata(kind: Kind, meta: Mapping[str, Any]) -> Errors:
    name = meta["name"]
    if kind.name == "Service":
        yield from match("metadata.name", name, SERVICE, SERVICE_TEXT, 63)
    elif kind.name == "Namespace":
        yield from match("metadata.name", name, LABEL, LABEL_TEXT, 63)
    elif not kind.group.startswith("rbac."):
        yield from match("metadata.name", name, SUBDOMAIN, SUBDOMAIN_TEXT, 253)
    for key, value in (meta.get("labels") or {}).items():
        yield from check_key("metadata.labels", key)
        yield from match("metadata.labels", value, VALUE, VALUE_TEXT, 63)
    size = 0
    for key, value in (meta.get("annotations") or {}).items():
        yield from check_key("metadata.annotations", key.lower())
        size += len(key.encode()) + len(value.encode())
    if size > 262_144:
        yield "metadata.annotations", TOO_LONG, "Too long: may not be more than 262144 bytes"
    for number, owner in enumerate(meta.get("ownerReferences") or ()):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                yield invalid(f"metadata.ownerReferences[{number}].{key}", "", f"{key} must not be empty")


def _check_files(kind: Kind, body: Mapping[str, Any]) -> Errors:
    size = 0
    for part in ("data", "binaryData"):
        for key, value in (body.get(part) or {}).items():
            if len(key) > 253 or not FILE.fullmatch(key):
                yield invalid(f"{part}[{key}]", key, FILE_TEXT)
            is_encoded = kind.name == "Secret" or part == "binaryData"
            size += len(value) * 3 // 4 - value.count("=") if is_encoded else len(value.encode())
    if size > MOST_BYTES:
        field = "data" if kind.name == "Secret" else "[]"
        yield field, TOO_LONG, f"Too long: may not be more than {MOST_BYTES} bytes"


def _check_service(spec: Mapping[str, Any]) -> Errors:
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None":
        yield "spec.ports", REQUIRED, "Required value"
    for number, port in enumerate(ports):
        field = f"spec.ports[{number}]"
        if len(ports) > 1 and not port.get("name"):
            yield f"{field}.name", REQUIRED, "Required value"
        if port.get("name"):
            yield from match(f"{field}.name", port["name"], LABEL, LABEL_TEXT, 63)
        if not 0 < int(port.get("port") or 0) < 65536:
            yield invalid(f"{field}.port", port.get("port", 0), "must be between 1 and 65535, inclusive")
    asked = [(port.get("protocol", "TCP"), port.get("port")) for port in ports]
    for number, pair in enumerate(asked):
        if pair in asked[:number]:
            shown = json.dumps({"port": pair[1], "protocol": pair[0]})
            yield f"spec.ports[{number}]", "FieldValueDuplicate", f"Duplicate value: {shown}"


def _check_lease(body: Mapping[str, Any], old: Mapping[str, Any] | None) -> Errors:
    spec = body.get("spec") or {}
    for key in ("renewTime", "acquireTime"):
        if key in spec and not _MOMENT.fullmatch(str(spec[key])):
            text = f'parsing time "{spec[key]}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse'
            raise status.bad_request(f'Lease in version "v1" cannot be handled as a Lease: {text}')
    if spec.get("leaseDurationSeconds", 1) <= 0:
        yield invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
    # Of the kinds here, this one alone cannot be put in its place without the version that it replaces.
    if old is not None and not body["metadata"].get("resourceVersion"):
        yield "metadata.resourceVersion", INVALID, "Invalid value: 0x0: must be specified for an update"
