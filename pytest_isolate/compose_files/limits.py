"""Limits of a service: memory, processors, processes, and the part of `deploy` that says so."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    number_of,
    seconds_of,
    table_of,
    text_of,
    whole_number_of,
)
from pytest_isolate.compose_files.rights import translate_device_requests

_DEPLOY_KEYS = keys(
    "mode endpoint_mode replicas labels rollback_config update_config resources restart_policy placement"
)
_RESOURCE_KEYS = keys("limits reservations")
_LIMIT_KEYS = keys("cpus memory pids")
_RESERVED_KEYS = keys("cpus memory devices generic_resources")
_POLICY_KEYS = keys("condition delay max_attempts window")
_CONDITIONS = {"none": "no", "on-failure": "on-failure", "any": "always"}
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
    found = _restart_policy(node.get("restart_policy"), around)
    if resources is None:
        return found
    around.findings.check_keys(table_of(resources), _RESOURCE_KEYS)
    found |= _limits(resources.get("limits"), around)
    with around.findings.collecting():
        found |= _reserved(resources.get("reservations"), around)
    return found


def _restart_policy(node: Node | None, around: ServiceContext) -> dict[str, object]:
    """Translate the policy of a cluster, which a policy of the service itself overrides."""
    if node is None:
        return {}
    around.findings.check_keys(table_of(node), _POLICY_KEYS)
    condition, most = node.get("condition"), node.get("max_attempts")
    word = text_of(condition) if condition is not None else "any"
    if word not in _CONDITIONS:
        raise NodeError(condition or node, f"{word!r} is not a condition", ", ".join(_CONDITIONS))
    if around.node.get("restart") is not None:
        return {}
    attempts = f":{whole_number_of(most)}" if most is not None and word == "on-failure" else ""
    return {"container": {"restart": _CONDITIONS[word] + attempts}}


def _reserved(node: Node | None, around: ServiceContext) -> dict[str, object]:
    """Memory and processors that are reserved are there anyway, or not; devices have to be asked for."""
    if node is None:
        return {}
    around.findings.check_keys(table_of(node), _RESERVED_KEYS)
    generic = node.get("generic_resources")
    if generic is not None:
        around.findings.note(generic, "is left out: a cluster's own resources")
    devices = node.get("devices")
    return {} if devices is None else translate_device_requests(devices, around)


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
