"""Limits of a service and its rights: resources, capabilities, security options, devices, and `deploy`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    flag_of,
    items_of,
    number_of,
    seconds_of,
    table_of,
    text_of,
    unsupported,
    whole_number_of,
    words_of,
)
from pytest_isolate.declarations.values import InvalidValue, parse_capabilities
from pytest_isolate.model.service import OF_SERVICE

_DEPLOY_KEYS = keys(
    "mode endpoint_mode replicas labels rollback_config update_config resources restart_policy placement"
)
_RESOURCE_KEYS = keys("limits reservations")
_LIMIT_KEYS = keys("cpus memory pids")
_RESERVED_KEYS = keys("cpus memory devices generic_resources")
_REQUEST_KEYS = keys("capabilities driver count device_ids options")
_DEVICE_PARTS = ("source", "target", "permissions")
PRIVILEGED, DEVICES = "privileged", "devices"
_KEPT_APART = "containers are kept apart from the host, and from each other"
_NO_DEVICES = "devices of the host are not handed to containers"
# The kernel's own period, in microseconds.
_PERIOD = 100_000


def translate_memory(node: Node, _: ServiceContext) -> dict[str, object]:
    """Translate a limit of memory; 0 is none."""
    text = text_of(node)
    return {"memory": "unlimited" if text == "0" else text}


def translate_cpus(node: Node, _: ServiceContext) -> dict[str, object]:
    """Translate a share of processors; 0 is no limit."""
    return {"cpus": number_of(node) or None}


def translate_pids(node: Node, _: ServiceContext) -> dict[str, object]:
    """Translate a number of processes; 0 and -1 are no limit."""
    number = whole_number_of(node)
    return {"pids": number if number > 0 else "unlimited"}


def translate_deploy(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate the limits of resources. How a cluster would spread the service is left out."""
    around.findings.check_keys(table_of(node), _DEPLOY_KEYS)
    replicas, resources = node.get("replicas"), node.get("resources")
    if replicas is not None:
        translate_scale(replicas, around)
    if resources is None:
        return {}
    around.findings.check_keys(table_of(resources), _RESOURCE_KEYS)
    found = _limits(resources.get("limits"), around)
    with around.findings.collecting():
        found |= _reserved(resources.get("reservations"), around)
    return found


def _reserved(node: Node | None, around: ServiceContext) -> dict[str, object]:
    """Memory and processors that are reserved are there anyway, or not; devices have to be asked for."""
    if node is None:
        return {}
    around.findings.check_keys(table_of(node), _RESERVED_KEYS)
    generic = node.get("generic_resources")
    if generic is not None:
        around.findings.note(generic, "is left out: a cluster's own resources")
    devices = node.get("devices")
    return {} if devices is None else _devices_by_request(devices, around)


def translate_gpus(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate devices that a driver hands out: `all`, or a list of requests."""
    if isinstance(node.value, str):
        around.require(DEVICES, node, _NO_DEVICES)
        return {"container": {"gpus": ["all"]}}
    return _devices_by_request(node, around)


def _devices_by_request(node: Node, around: ServiceContext) -> dict[str, object]:
    around.require(DEVICES, node, _NO_DEVICES)
    requests = []
    for item in items_of(node):
        around.findings.check_keys(table_of(item), _REQUEST_KEYS)
        names = {"driver": "driver", "count": "count", "device_ids": "device", "capabilities": "capabilities"}
        said = {name: "+".join(words_of(found)) for key, name in names.items() if (found := item.get(key)) is not None}
        requests.append(",".join(f"{name}={text}" for name, text in said.items()) or "all")
    return {"container": {"gpus": requests}}


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


def translate_quota(around: ServiceContext) -> dict[str, object]:
    """Translate processor time within a period of microseconds as a share of processors."""
    quota, period = around.node.get("cpu_quota"), around.node.get("cpu_period")
    if quota is None or whole_number_of(quota) <= 0 or around.node.get("cpus") is not None:
        return {}
    return {"cpus": whole_number_of(quota) / (_PERIOD if period is None else _microseconds(period))}


def _microseconds(node: Node) -> float:
    return float(text_of(node)) if text_of(node).isdigit() else seconds_of(node) * 1e6 or _PERIOD


def _limits(node: Node | None, around: ServiceContext) -> dict[str, object]:
    if node is None:
        return {}
    around.findings.check_keys(table_of(node), _LIMIT_KEYS)
    found: dict[str, object] = {}
    translations = {"cpus": translate_cpus, "memory": translate_memory, "pids": translate_pids}
    for key, translate in translations.items():
        entry = node.get(key)
        if entry is not None:
            found |= translate(entry, around)
    return found


def translate_scale(node: Node, around: ServiceContext) -> dict[str, object]:
    """Note how many copies are left out: one is what a fixture stands for."""
    copies = whole_number_of(node)
    if copies > 1:
        around.findings.note(node, f"{copies} copies of a service: one is started")
    return {}


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


def translate_ulimits(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate limits by name: one number, or a soft and a hard one."""
    limits: dict[str, object] = {}
    for name, entry in table_of(node).items():
        if isinstance(entry.value, Mapping):
            around.findings.check_keys(entry.value, keys("soft hard"))
            soft, hard = entry.get("soft") or entry.get("hard"), entry.get("hard") or entry.get("soft")
            if soft is None or hard is None:
                raise NodeError(entry, "is no limit", "a whole number, or soft and hard")
            limits[name] = {"soft": whole_number_of(soft), "hard": whole_number_of(hard)}
        else:
            limits[name] = whole_number_of(entry)
    return {"container": {"ulimits": limits}}
