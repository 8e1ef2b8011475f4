"""A pod template of the user's (`--isolate-pod-template`), merged into each pod. Pure.

Labels, annotations, a service account, tolerations, a node selector, pull secrets and the like are the user's to give.
Lists are joined; of single values ours count where a service declares them, else the template's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_isolate.errors import EngineError

_OURS = {
    "spec": ("containers", "ephemeralContainers", "initContainers", "restartPolicy"),
    "metadata": ("name", "namespace", "ownerReferences", "generateName", "uid"),
}
_NEVER_OURS = "a container of the name {name} has the settings of every service's container"
SERVICE = "service"
"""Name of the container that runs a service's program."""


def check_template(template: Mapping[str, Any], origin: str) -> None:
    """Raise an EngineError for a template that is none, or that sets what is not the user's."""
    what, do = f"the pod template {origin} cannot be used", "see docs/kubernetes.md for what it may hold"
    if template.get("kind", "Pod") not in ("Pod", "PodTemplate") or not isinstance(template, Mapping):
        raise EngineError(what, found=f"its kind is {template.get('kind')!r}, and should be Pod", do=do)
    body = template_body(template)
    for part, names in _OURS.items():
        found = [f"{part}.{name}" for name in names if name in (body.get(part) or {}) and name != "containers"]
        if found:
            raise EngineError(what, found=f"{', '.join(found)}: set by pytest-isolate, for each service", do=do)
    others = [c.get("name") for c in (body.get("spec") or {}).get("containers") or () if c.get("name") != SERVICE]
    if others:
        named = ", ".join(map(repr, others))
        text = f"spec.containers has {named}; {_NEVER_OURS.format(name=repr(SERVICE))}"
        raise EngineError(what, found=text, do=do)


def merge_template(pod: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """A pod of ours with what a template adds."""
    body = template_body(template)
    extra = {part: dict(body.get(part) or {}) for part in ("metadata", "spec")}
    own: Mapping[str, Any] = next(iter(extra["spec"].pop("containers", None) or ()), {})
    merged = merge(extra, pod)
    first = merge({key: value for key, value in own.items() if key != "name"}, merged["spec"]["containers"][0])
    spec = {**merged["spec"], "containers": [first, *merged["spec"]["containers"][1:]]}
    return {**merged, "spec": spec}


def merge(under: Any, over: Any) -> Any:
    """Two values of a manifest in one: mappings key by key, lists one after the other, else the one above."""
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        keys = dict.fromkeys([*over, *under])
        return {
            key: merge(under[key], over[key]) if key in under and key in over else _either(under, over, key)
            for key in keys
        }
    if isinstance(under, list) and isinstance(over, list):
        return [*over, *(item for item in under if not _stands_in(item, over))]
    return over


def _either(under: Mapping[str, Any], over: Mapping[str, Any], key: str) -> Any:
    return over[key] if key in over else under[key]


def _stands_in(item: Any, items: Sequence[Any]) -> bool:
    """Tell that a list has an item already, or one of the same name."""
    name = item.get("name") if isinstance(item, Mapping) else None
    return item in items or (name is not None and any(isinstance(o, Mapping) and o.get("name") == name for o in items))


def pull_secret_names(template: Mapping[str, Any]) -> list[str]:
    """The secrets that a template gives to pods, to pull images with."""
    return [
        str(one.get("name", "")) for one in (template_body(template).get("spec") or {}).get("imagePullSecrets") or ()
    ]


def template_body(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metadata and spec of a Pod, or those within a PodTemplate."""
    inner = template.get("template")
    return inner if isinstance(inner, Mapping) else template
