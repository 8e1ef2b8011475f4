"""Rights of a service: capabilities, security options, and the parts of the host that take a permission."""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    flag_of,
    items_of,
    table_of,
    text_of,
    unsupported,
    words_of,
)
from pytest_isolate.declarations.values import InvalidValue, parse_capabilities
from pytest_isolate.model.service import OF_SERVICE

PRIVILEGED, DOCKER_SOCK, HOST_NETWORK, DEVICES = PERMISSIONS = ("privileged", "docker.sock", "host-network", "devices")
_KEPT_APART = "containers are kept apart from the host, and from each other"
_NO_DEVICES = "devices of the host are not handed to containers"
_DEVICE_PARTS = ("source", "target", "permissions")
_REQUEST_KEYS = keys("capabilities driver count device_ids options")


def translate_cap_add(node: Node, _: ServiceContext) -> dict[str, object]:
    """Translate capabilities beside the default ones."""
    return {"cap_add": _capabilities(node)}


def translate_cap_drop(node: Node, _: ServiceContext) -> dict[str, object]:
    """Translate capabilities that are taken from the default ones."""
    return {"container": {"cap_drop": _capabilities(node)}}


def _capabilities(node: Node) -> list[str]:
    try:
        return list(parse_capabilities(words_of(node)))
    except InvalidValue as wrong:
        raise NodeError(node, wrong.reason, wrong.valid) from None


def translate_security(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate the right to gain rights, and profiles of the host's security modules."""
    found: dict[str, object] = {}
    options: list[str] = []
    for item in items_of(node):
        word, value = [*re.split("[:=]", text_of(item), maxsplit=1), ""][:2]
        with around.findings.collecting():
            if word == "no-new-privileges":
                found["new_privileges"] = value == "false"
            elif word == "seccomp" and value != "unconfined":
                options.append(f"seccomp={around.read_file(value, item)}")
            elif word in ("seccomp", "apparmor", "label"):
                options.append(f"{word}={value}")
            elif word == "systempaths":
                around.require(PRIVILEGED, item, _KEPT_APART)
                options.append(f"{word}={value}")
            else:
                raise unsupported(item, f"the security option {item.value!r}")
    return {**found, "container": {"security_opt": options}} if options else found


def translate_privileged(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate the right to everything, which includes the right to gain rights."""
    if not flag_of(node):
        return {}
    around.require(PRIVILEGED, node, "it would give the container the host; cap_add gives it single rights")
    return {"container": {"privileged": True}, "new_privileges": True}


def translate_namespace(name: str) -> Callable[[Node, ServiceContext], dict[str, object]]:
    """Make the translation of a namespace of the kernel: the container's own, the host's or another service's."""

    def translate(node: Node, around: ServiceContext) -> dict[str, object]:
        mode = text_of(node)
        if mode in ("private", "shareable", "none"):
            return {"container": {"namespaces": {name: mode}}}
        kind, _, other = mode.partition(":")
        if kind in ("service", "container") and other:
            member = around.neighbour(mode, node)
            return {"container": {"namespaces": {name: f"{OF_SERVICE}{member}"}}, "needs": [member]}
        if mode != "host":
            raise NodeError(node, f"{mode!r} is not a mode of {name}", "private, shareable, service:NAME, host")
        around.require(PRIVILEGED, node, _KEPT_APART)
        return {"container": {"namespaces": {name: mode}}}

    return translate


def translate_devices(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate devices of the host: HOST[:INSIDE[:RIGHTS]], or a table."""
    around.require(DEVICES, node, _NO_DEVICES)
    devices = []
    for item in items_of(node):
        if isinstance(item.value, str):
            devices.append(item.value)
            continue
        around.findings.check_keys(table_of(item), keys("source target permissions"))
        parts = [text_of(found) if (found := item.get(key)) is not None else "" for key in _DEVICE_PARTS]
        devices.append(":".join(parts).rstrip(":"))
    return {"container": {"devices": devices}}


def translate_device_rules(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate rules about devices that may be made inside the container."""
    around.require(DEVICES, node, _NO_DEVICES)
    return {"container": {"device_cgroup_rules": words_of(node)}}


def translate_gpus(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate devices that a driver hands out: `all`, or a list of requests."""
    if isinstance(node.value, str):
        around.require(DEVICES, node, _NO_DEVICES)
        return {"container": {"gpus": ["all"]}}
    return translate_device_requests(node, around)


def translate_device_requests(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate requests for devices that a driver hands out."""
    around.require(DEVICES, node, _NO_DEVICES)
    requests = []
    for item in items_of(node):
        around.findings.check_keys(table_of(item), _REQUEST_KEYS)
        names = {"driver": "driver", "count": "count", "device_ids": "device", "capabilities": "capabilities"}
        said = {name: "+".join(words_of(found)) for key, name in names.items() if (found := item.get(key)) is not None}
        requests.append(",".join(f"{name}={text}" for name, text in said.items()) or "all")
    return {"container": {"gpus": requests}}
