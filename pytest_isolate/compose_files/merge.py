"""One Compose file over another, and a service over the one that it extends. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_isolate.compose_files.nodes import Node, text_of

_REPLACED = {("command",), ("entrypoint",), ("healthcheck", "test")}
_UNIQUE: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "ports": (("host_ip",), ("target",), ("published",), ("protocol",)),
    "volumes": (("target",),),
    "secrets": (("target", "source"),),
    "configs": (("target", "source"),),
}
"""Parts that tell entries of a list apart: keys, each with what stands for it where it is missing."""

_WITH_EMPTY = ("environment", "args", "labels", "networks")
"""Tables in which an entry without a value means something."""


def merge_files(base: Node, over: Node) -> Node:
    """The file that both are together."""
    merged = _merge(base, over, ("file",))
    return base.holding({}) if merged is None else merged


def merge_services(base: Node, over: Node) -> Node:
    """The service that both are together."""
    merged = _merge(base, over, ("file", "services", "name"))
    return over.holding({}) if merged is None else merged


def without_tags(node: Node) -> Node | None:
    """A part that nothing is merged with: what `!reset` marks is gone, what `!override` marks stays."""
    if node.tag == "!reset":
        return None
    if isinstance(node.value, Mapping):
        entries = {key: without_tags(entry) for key, entry in node.value.items()}
        return node.holding({key: entry for key, entry in entries.items() if entry is not None})
    return node


def _merge(base: Node, over: Node, path: tuple[str, ...]) -> Node | None:
    own = path[3:]
    if over.tag or own in _REPLACED:
        return without_tags(over)
    if isinstance(base.value, Mapping) and isinstance(over.value, Mapping):
        return over.holding(_merge_tables(base.value, over.value, path))
    if isinstance(base.value, tuple) and isinstance(over.value, tuple):
        return over.holding(_merge_lists(base.value, over.value, own[0] if len(own) == 1 else ""))
    if over.value is None and not (len(own) > 1 and own[-2] in _WITH_EMPTY):
        return base
    return over


def _merge_tables(base: Mapping[str, Node], over: Mapping[str, Node], path: tuple[str, ...]) -> dict[str, Node]:
    merged: dict[str, Node] = {}
    for key in dict.fromkeys([*base, *over]):
        if key in base and key in over:
            found = _merge(base[key], over[key], (*path, key))
        else:
            found = without_tags(over.get(key) or base[key])
        if found is not None:
            merged[key] = found
    return merged


def _merge_lists(base: tuple[Node, ...], over: tuple[Node, ...], key: str) -> tuple[Node, ...]:
    """Both lists, one behind the other; of entries that mean the same, the later one at the earlier one's place."""
    found = {_identity(item, key): item for item in base}
    return tuple((found | {_identity(item, key): item for item in over}).values())


def _identity(item: Node, key: str) -> object:
    if isinstance(item.value, Mapping) and key in _UNIQUE:
        return tuple(next((_text(item, name) for name in names if item.get(name)), "") for names in _UNIQUE[key])
    return item.value if isinstance(item.value, str) else (item.path, item.location)


def _text(item: Node, name: str) -> str:
    found = item.get(name)
    return "" if found is None else text_of(found)
