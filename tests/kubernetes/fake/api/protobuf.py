"""As much of the protobuf encoding as kubectl sends for objects that it makes itself: `kubectl create secret`."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes.fake.api.status import ApiError

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
# A field is its name and a type: a message of this table, str, bytes, int, bool, or one of these in a list or map.
Schema = Mapping[int, tuple[str, str]]
_METADATA: tuple[str, str] = ("metadata", "ObjectMeta")
_SCHEMAS: Mapping[str, Schema] = {
    "ObjectMeta": {
        1: ("name", "str"),
        2: ("generateName", "str"),
        3: ("namespace", "str"),
        11: ("labels", "map str"),
        12: ("annotations", "map str"),
        14: ("finalizers", "list str"),
    },
    "Secret": {1: _METADATA, 2: ("data", "map bytes"), 3: ("type", "str"), 4: ("stringData", "map str")},
    "ConfigMap": {1: _METADATA, 2: ("data", "map str"), 3: ("binaryData", "map bytes")},
    "Namespace": {1: _METADATA},
    "ServiceAccount": {1: _METADATA},
    "TokenRequest": {1: _METADATA, 2: ("spec", "TokenRequestSpec")},
    "TokenRequestSpec": {1: ("audiences", "list str"), 4: ("expirationSeconds", "int")},
    "SelfSubjectAccessReview": {1: _METADATA, 2: ("spec", "SelfSubjectAccessReviewSpec")},
    "SelfSubjectAccessReviewSpec": {1: ("resourceAttributes", "ResourceAttributes")},
    "ResourceAttributes": {
        1: ("namespace", "str"),
        2: ("verb", "str"),
        3: ("group", "str"),
        4: ("version", "str"),
        5: ("resource", "str"),
        6: ("subresource", "str"),
        7: ("name", "str"),
    },
    "SelfSubjectRulesReview": {1: _METADATA, 2: ("spec", "SelfSubjectRulesReviewSpec")},
    "SelfSubjectRulesReviewSpec": {1: ("namespace", "str")},
    "DeleteOptions": {1: ("gracePeriodSeconds", "int"), 4: ("propagationPolicy", "str")},
    "Role": {1: _METADATA, 2: ("rules", "list PolicyRule")},
    "PolicyRule": {
        1: ("verbs", "list str"),
        2: ("apiGroups", "list str"),
        3: ("resources", "list str"),
        4: ("resourceNames", "list str"),
    },
    "RoleBinding": {1: _METADATA, 2: ("subjects", "list Subject"), 3: ("roleRef", "RoleRef")},
    "Subject": {1: ("kind", "str"), 2: ("apiGroup", "str"), 3: ("name", "str"), 4: ("namespace", "str")},
    "RoleRef": {1: ("apiGroup", "str"), 2: ("kind", "str"), 3: ("name", "str")},
    "Service": {1: _METADATA, 2: ("spec", "ServiceSpec")},
    "ServiceSpec": {
        1: ("ports", "list ServicePort"),
        2: ("selector", "map str"),
        3: ("clusterIP", "str"),
        4: ("type", "str"),
    },
    "ServicePort": {1: ("name", "str"), 2: ("protocol", "str"), 3: ("port", "int"), 4: ("targetPort", "NumberOrName")},
    "NumberOrName": {2: ("number", "int"), 3: ("name", "str")},
    "ResourceQuota": {1: _METADATA, 2: ("spec", "ResourceQuotaSpec")},
    "ResourceQuotaSpec": {1: ("hard", "map Quantity")},
    "Quantity": {1: ("text", "str")},
    "Unknown": {1: ("typeMeta", "TypeMeta"), 2: ("raw", "raw")},
    "TypeMeta": {1: ("apiVersion", "str"), 2: ("kind", "str")},
    "Entry": {1: ("key", "str"), 2: ("value", "raw")},
}


def decode(body: bytes) -> dict[str, Any]:
    """The object in a body; ApiError where its kind is none of those above."""
    whole = _decode_message(body.removeprefix(_MAGIC), "Unknown")
    kind = whole["typeMeta"]["kind"]
    if kind not in _SCHEMAS:
        text = "the body of the request was in an unknown format - accepted media types include: application/json"
        raise ApiError(415, "UnsupportedMediaType", f"{text} ({kind})")
    return {**whole["typeMeta"], **_decode_message(whole.get("raw", b""), kind)}


def _decode_message(data: bytes, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        if number not in _SCHEMAS[kind]:
            continue
        name, shape = _SCHEMAS[kind][number]
        many, _, item = shape.rpartition(" ")
        if many == "map":
            entry = _decode_message(value, "Entry")
            found.setdefault(name, {})[entry["key"]] = _decode_value(entry.get("value", b""), item)
        elif many == "list":
            found.setdefault(name, []).append(_decode_value(value, item))
        else:
            found[name] = _decode_value(value, item)
    return {name: value for name, value in found.items() if value not in ("", {}) or kind in ("Entry", "PolicyRule")}


def _decode_value(value: Any, kind: str) -> Any:
    if kind == "NumberOrName":
        found = _decode_message(value, kind)
        return found.get("name") or found["number"]
    if kind == "Quantity":
        return _decode_message(value, kind)["text"]
    if kind in _SCHEMAS:
        return _decode_message(value, kind)
    if kind == "str":
        return value.decode()
    return base64.b64encode(value).decode() if kind == "bytes" else value


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _read_number(data, at)
        if tag & 7 == 0:
            value, at = _read_number(data, at)
            yield tag >> 3, value
        else:
            size, at = _read_number(data, at)
            yield tag >> 3, data[at : at + size]
            at += size


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at
