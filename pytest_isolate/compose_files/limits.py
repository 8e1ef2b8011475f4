"""What a service may have and do: limits, capabilities, security options, and the part of `deploy` that says so."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    items_of,
    number_of,
    table_of,
    text_of,
    unsupported,
    whole_number_of,
    words_of,
)
from pytest_isolate.declarations.values import InvalidValue, parse_capabilities

_DEPLOY_KEYS = keys(
    "mode endpoint_mode replicas labels rollback_config update_config resources restart_policy placement"
)
_RESOURCE_KEYS = keys("limits reservations")
_LIMIT_KEYS = keys("cpus memory pids")
_RESERVED_KEYS = keys("cpus memory devices generic_resources")
_FOR_JOBS = ("replicated-job", "global-job")


def translate_memory(node: Node, _: ServiceContext) -> dict[str, object]:
    """A limit of memory; 0 is none."""
    text = text_of(node)
    return {"memory": "unlimited" if text == "0" else text}


def translate_cpus(node: Node, _: ServiceContext) -> dict[str, object]:
    """A share of processors; 0 is no limit."""
    return {"cpus": number_of(node) or None}


def translate_pids(node: Node, _: ServiceContext) -> dict[str, object]:
    """A number of processes; 0 and -1 are no limit."""
    number = whole_number_of(node)
    return {"pids": number if number > 0 else "unlimited"}


def translate_deploy(node: Node, around: ServiceContext) -> dict[str, object]:
    """The limits of its resources. How a cluster would spread the service is not taken."""
    around.findings.check_keys(table_of(node), _DEPLOY_KEYS)
    mode, replicas = node.get("mode"), node.get("replicas")
    if mode is not None and text_of(mode) in _FOR_JOBS:
        raise unsupported(mode, f"the mode {mode.value!r}")
    if replicas is not None:
        translate_scale(replicas, around)
    resources = node.get("resources")
    if resources is None:
        return {}
    around.findings.check_keys(table_of(resources), _RESOURCE_KEYS)
    _check_reserved(resources.get("reservations"), around)
    return _limits(resources.get("limits"), around)


def _check_reserved(node: Node | None, around: ServiceContext) -> None:
    """What is reserved in memory and processors is there anyway, or not; a device is not."""
    if node is None:
        return
    around.findings.check_keys(table_of(node), _RESERVED_KEYS)
    for key in ("devices", "generic_resources"):
        found = node.get(key)
        if found is not None:
            around.findings.add(unsupported(found, "devices of the host are not handed to containers"))


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


def translate_scale(node: Node, _: ServiceContext) -> dict[str, object]:
    """One copy of a service is what a fixture stands for."""
    if whole_number_of(node) != 1:
        raise unsupported(node, f"{node.value} copies of a service; a stack has one of each")
    return {}


def translate_cap_add(node: Node, _: ServiceContext) -> dict[str, object]:
    """Capabilities beside the default ones."""
    return {"cap_add": _capabilities(node)}


def translate_cap_drop(node: Node, _: ServiceContext) -> dict[str, object]:
    """Capabilities that are taken from the default ones."""
    return {"container": {"cap_drop": _capabilities(node)}}


def _capabilities(node: Node) -> list[str]:
    try:
        return list(parse_capabilities(words_of(node)))
    except InvalidValue as wrong:
        raise NodeError(node, wrong.reason, wrong.valid) from None


def translate_security(node: Node, around: ServiceContext) -> dict[str, object]:
    """Whether programs may gain rights; profiles of the host's security modules are not handed on."""
    found: dict[str, object] = {}
    for item in items_of(node):
        word, _, value = text_of(item).replace("=", ":").partition(":")
        if word == "no-new-privileges":
            found["new_privileges"] = value == "false"
        else:
            around.findings.add(unsupported(item, f"the security option {item.value!r}"))
    return found


def translate_ulimits(node: Node, around: ServiceContext) -> dict[str, object]:
    """Limits by name: one number, or a soft and a hard one."""
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
