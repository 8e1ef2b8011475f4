"""Admission of what is created: LimitRange, ServiceAccount, Pod Security, ResourceQuota."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from kubernetes.fake.api import pod_security, status
from kubernetes.fake.api.kinds import Kind
from kubernetes.fake.api.quantities import format_quantity, parse_quantity
from kubernetes.fake.api.store import Object, Store

_ENDED = ("Succeeded", "Failed")
_COUNTED = ("pods", "services", "secrets", "configmaps", "resourcequotas")


def set_by_admission(store: Store, kind: Kind, body: Object) -> None:
    """Change what is created as the mutating plugins do."""
    if kind.name != "Pod":
        return
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    account = body["spec"]["serviceAccountName"]
    if store.find("serviceaccounts", namespace, account) is None:
        why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
        raise status.forbidden("pods", name, why)
    for limits in store.find_all("limitranges", namespace):
        for limit in limits["spec"].get("limits") or ():
            if limit["type"] == "Container":
                _set_limits(limit, body)


def check_admission(store: Store, kind: Kind, body: Object) -> None:
    """Raise the 403 of a plugin that does not let an object in."""
    namespace = store.find("namespaces", "", body["metadata"].get("namespace", ""))
    if namespace is None:
        return
    if kind.name == "Pod":
        for limits in store.find_all("limitranges", body["metadata"]["namespace"]):
            for limit in limits["spec"].get("limits") or ():
                _check_limits(limit, body)
        pod_security.check(namespace, body)
    _check_quotas(store, kind, body)


def _set_limits(limit: Mapping[str, Any], pod: Object) -> None:
    told = []
    for container in pod["spec"].get("containers") or ():
        resources = container["resources"]
        for key, word, values in (("requests", "request", "defaultRequest"), ("limits", "limit", "default")):
            given = limit.get(values) or (limit.get("default") if key == "requests" else None) or {}
            for what, amount in given.items():
                if (
                    key == "requests"
                    and what in (resources.get("limits") or {})
                    and what in (resources.get("requests") or {})
                ):
                    continue
                if what not in (resources.get(key) or {}):
                    resources.setdefault(key, {})[what] = amount
                    told.append(f"{what} {word} for container {container['name']}")
    if told:
        text = f"LimitRanger plugin set: {'; '.join(told)}"
        pod["metadata"].setdefault("annotations", {})["kubernetes.io/limit-ranger"] = text


def _check_limits(limit: Mapping[str, Any], pod: Object) -> None:
    errors = []
    for container in pod["spec"]["containers"] if limit["type"] == "Container" else ():
        limits, requests = (container["resources"].get(key) or {} for key in ("limits", "requests"))
        for what, most in (limit.get("max") or {}).items():
            if what not in limits:
                errors.append(f"maximum {what} usage per Container is {most}.  No limit is specified")
            elif parse_quantity(limits[what]) > parse_quantity(most):
                errors.append(f"maximum {what} usage per Container is {most}, but limit is {limits[what]}")
        for what, least in (limit.get("min") or {}).items():
            if what not in requests:
                errors.append(f"minimum {what} usage per Container is {least}.  No request is specified")
            elif parse_quantity(requests[what]) < parse_quantity(least):
                errors.append(f"minimum {what} usage per Container is {least}, but request is {requests[what]}")
    if errors:
        why = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
        raise status.forbidden("pods", pod["metadata"]["name"], why)


def _amounts_of_pod(pod: Object) -> Iterator[tuple[str, Fraction]]:
    yield "pods", Fraction(1)
    yield "count/pods", Fraction(1)
    for container in pod["spec"].get("containers") or ():
        resources = container.get("resources") or {}
        for key in ("requests", "limits"):
            for what, amount in (resources.get(key) or {}).items():
                yield f"{key}.{what}", parse_quantity(amount)
                if key == "requests":
                    yield what, parse_quantity(amount)


def _sum(amounts: Iterator[tuple[str, Fraction]]) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for what, amount in amounts:
        found[what] = found.get(what, Fraction(0)) + amount
    return found


def find_usage(store: Store, namespace: str) -> dict[str, Fraction]:
    """Sum up what the quotas of a namespace count."""

    def amounts() -> Iterator[tuple[str, Fraction]]:
        for pod in store.find_all("pods", namespace):
            if pod["status"]["phase"] not in _ENDED:
                yield from _amounts_of_pod(pod)
        for plural in _COUNTED[1:]:
            count = len(store.find_all(plural, namespace))
            yield plural, Fraction(count)
            yield f"count/{plural}", Fraction(count)

    return _sum(amounts())


def with_usage(store: Store, quota: Object) -> Object:
    """Return a quota with the status that the controller would have written."""
    used, hard = find_usage(store, quota["metadata"]["namespace"]), quota["spec"].get("hard") or {}
    told = {what: format_quantity(used.get(what, Fraction(0)), what) for what in hard}
    return {**quota, "status": {"hard": hard, "used": told}}


def _check_quotas(store: Store, kind: Kind, body: Object) -> None:
    one = Fraction(1)
    wanted = _sum(
        _amounts_of_pod(body) if kind.name == "Pod" else iter(((kind.plural, one), (f"count/{kind.plural}", one)))
    )
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    for quota in store.find_all("resourcequotas", namespace):
        hard = quota["spec"].get("hard") or {}
        if kind.name == "Pod":
            _check_specified(quota, body, name)
        used = find_usage(store, namespace)
        over = [
            what
            for what in sorted(hard)
            if what in wanted and used.get(what, Fraction(0)) + wanted[what] > parse_quantity(hard[what])
        ]
        if over:
            asked = ",".join(f"{what}={format_quantity(wanted[what], what)}" for what in over)
            taken = ",".join(f"{what}={format_quantity(used.get(what, Fraction(0)), what)}" for what in over)
            limited = ",".join(f"{what}={hard[what]}" for what in over)
            why = f"exceeded quota: {quota['metadata']['name']}, requested: {asked}, used: {taken}, limited: {limited}"
            raise status.forbidden(kind.resource, name, why)


def _check_specified(quota: Object, pod: Object, name: str) -> None:
    missing = []
    for what in sorted(quota["spec"].get("hard") or {}):
        key, _, resource = what.partition(".")
        if not resource:
            key, resource = "requests", what
        if key not in ("requests", "limits") or resource not in ("cpu", "memory"):
            continue
        without = [
            one["name"] for one in pod["spec"]["containers"] if resource not in (one["resources"].get(key) or {})
        ]
        if without:
            missing.append(f"{what} for: {','.join(without)}")
    if missing:
        why = f"failed quota: {quota['metadata']['name']}: must specify {'; '.join(missing)}"
        raise status.forbidden("pods", name, why)
