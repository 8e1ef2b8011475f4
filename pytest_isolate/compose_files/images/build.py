"""The build of a service, as our key `build`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    items_of,
    says_something,
    table_of,
    text_of,
    texts_of,
    unsupported,
    words_of,
)
from pytest_isolate.model.host_path import is_absolute

_IGNORED = keys("no_cache tags pull provenance sbom")
_NOTED = keys("entitlements isolation privileged ulimits platforms")
_GRANT_KEYS = keys("source target uid gid mode")
_OF_OTHERS = ("service:", "target:")


def translate_build(build: Node, around: ServiceContext) -> dict[str, object]:
    """Translate a build; what of it cannot be honoured is told, and left out."""
    table = table_of(build)
    around.findings.check_keys(table, {**dict.fromkeys(_TRANSLATING), **_IGNORED, **_NOTED, "context": None})
    for key in filter(table.__contains__, _NOTED):
        if says_something(table[key]):
            around.findings.note(table[key], "is left out of the build")
    context = text_of(table["context"])
    if not is_absolute(context):
        raise unsupported(table["context"], f"a build from {context!r}, which is no folder")
    found: dict[str, object] = {"context": context, "args": {}}
    for key, (name, translate) in _TRANSLATING.items():
        if key in table and table[key].value not in (None, ""):
            with around.findings.collecting():
                found[name] = translate(table[key], around)
    return found


def translate_variables(node: Node, around: ServiceContext) -> dict[str, str]:
    """Collect variables; one that is only named has the value that it has outside, or is left out."""
    found = {}
    for name, entry in table_of(node).items():
        value = around.project.variables.get(name) if entry.value is None else text_of(entry)
        if value is not None:
            found[name] = value
    return found


def _secrets(node: Node, around: ServiceContext) -> dict[str, object]:
    """Say where the secrets are, by the names that the build knows them by; their content is not read here."""
    found: dict[str, object] = {}
    for item in items_of(node):
        with around.findings.collecting():
            around.findings.check_keys(table_of(item), _GRANT_KEYS)
            source, target = item.get("source"), item.get("target")
            if source is None:
                raise NodeError(item, "has no source", "a name that secrets declares")
            declared = around.declared("secrets", text_of(source), source)
            found[text_of(target if target is not None else source)] = _place_of(declared, around)
    return found


def _place_of(declared: Node, around: ServiceContext) -> dict[str, str]:
    file, variable = declared.get("file"), declared.get("environment")
    if file is not None:
        if around.host.kind_of(text_of(file)) != "file":
            raise NodeError(file, f"there is no file {file.value}")
        return {"file": text_of(file)}
    if variable is not None:
        # It is read when the image is built, so that it stands in no declaration; Compose's own files are not, then.
        if text_of(variable) not in around.host.environ:
            raise NodeError(variable, f"the variable {variable.value} has no value", "in the environment of pytest")
        return {"env": text_of(variable)}
    raise unsupported(declared, "a secret of a build that is neither a file nor a variable of the environment")


def _ssh(node: Node, _: ServiceContext) -> list[str]:
    return [name if entry.value is None else f"{name}={text_of(entry)}" for name, entry in table_of(node).items()]


def _contexts(node: Node, around: ServiceContext) -> dict[str, str]:
    found = {}
    for name, entry in table_of(node).items():
        text = text_of(entry)
        with around.findings.collecting():
            if text.startswith(_OF_OTHERS):
                raise unsupported(entry, f"the context {text!r}: images of other services are built by themselves")
            found[name] = text
    return found


def _labels(node: Node, _: ServiceContext) -> dict[str, str]:
    return texts_of(node)


def _hosts(node: Node, _: ServiceContext) -> dict[str, list[str]]:
    return {name: words_of(entry) for name, entry in table_of(node).items()}


def _text(node: Node, _: ServiceContext) -> str:
    return text_of(node)


def _words(node: Node, _: ServiceContext) -> list[str]:
    return words_of(node)


_TRANSLATING: Mapping[str, tuple[str, Callable[[Node, ServiceContext], object]]] = {
    "dockerfile": ("dockerfile", _text),
    "dockerfile_inline": ("dockerfile_inline", _text),
    "args": ("args", translate_variables),
    "target": ("target", _text),
    "network": ("network", _text),
    "secrets": ("secrets", _secrets),
    "ssh": ("ssh", _ssh),
    "cache_from": ("cache_from", _words),
    "cache_to": ("cache_to", _words),
    "additional_contexts": ("contexts", _contexts),
    "labels": ("labels", _labels),
    "extra_hosts": ("extra_hosts", _hosts),
    "shm_size": ("shm_size", _text),
}
