"""Variables of containers, and the texts that refer to them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from kubernetes.fake.api.store import Object, Store

_REFERENCE = re.compile(r"\$(?:\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")


class ConfigError(Exception):
    """A container cannot be made as it is declared, until something else changes."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` where there is such a variable; `$$` stands for one sign."""

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def read_variables(store: Store, pod: Object, container: Object, service: Mapping[str, str]) -> dict[str, str]:
    """The variables of a container; ConfigError where something that they come from is not there."""
    namespace = pod["metadata"]["namespace"]
    found = dict(service)
    for source in container.get("envFrom") or ():
        plural, reference = ("secrets", "secretRef") if "secretRef" in source else ("configmaps", "configMapRef")
        origin = source[reference]
        data = store.find(plural, namespace, origin["name"])
        if data is None and not origin.get("optional"):
            raise ConfigError(f'{plural[:-1]} "{origin["name"]}" not found')
        found.update({source.get("prefix", "") + key: text for key, text in _texts(data).items()})
    for variable in container.get("env") or ():
        name, source = variable["name"], variable.get("valueFrom")
        if source is None:
            # Only what is written here is expanded: not what a Secret or ConfigMap says.
            found[name] = expand(variable.get("value") or "", found)
        elif (text := _read_one(store, pod, source)) is not None:
            found[name] = text
    return found


def _texts(found: Object | None) -> dict[str, str]:
    data = (found or {}).get("data") or {}
    if found and found["kind"] == "Secret":
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}
    return dict(data)


def _read_one(store: Store, pod: Object, source: Object) -> str | None:
    if "fieldRef" in source:
        return field_of_pod(pod, source["fieldRef"]["fieldPath"])
    namespace = pod["metadata"]["namespace"]
    for key, plural, kind in (("secretKeyRef", "secrets", "Secret"), ("configMapKeyRef", "configmaps", "ConfigMap")):
        if key in source:
            reference = source[key]
            data = store.find(plural, namespace, reference["name"])
            texts = _texts(data)
            if reference["key"] in texts:
                return texts[reference["key"]]
            if reference.get("optional"):
                return None
            if data is None:
                raise ConfigError(f'{plural[:-1]} "{reference["name"]}" not found')
            raise ConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")
    raise ConfigError(f"variables from {next(iter(source))} cannot be had here")


def field_of_pod(pod: Object, path: str) -> str:
    """A field as `fieldRef` names it, such as metadata.labels['app']."""
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    here: Any = pod
    for part in path.split("."):
        here = here.get(part, "") if isinstance(here, dict) else ""
    return "\n".join(f'{key}="{value}"' for key, value in here.items()) if isinstance(here, dict) else str(here)
