"""Longest form of each of the many ways to write a key of a service, with paths made absolute.

What is merged, extended and translated has then only one form. Nothing here depends on other files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

from pytest_isolate.compose_files.findings import Findings, try_change
from pytest_isolate.compose_files.nodes import Node, NodeError, items_of, resolve, table_of, text_of
from pytest_isolate.model.host_path import is_absolute

Place = Callable[[str], str]
"""Makes a path absolute that a file writes."""

_PORT = re.compile(r"(\d+)(?:-(\d+))?")
_REMOTE = re.compile(r"(?:https?|git|ssh|docker-image|oci-layout)://|git@|github\.com/|target:|service:")


def expand_file(root: Node, folder: str, home: str, findings: Findings) -> Node:
    """Write every service, secret and config of a file in its longest form."""
    place = partial(resolve, folder=folder, home=home)
    table = dict(table_of(root))
    expanding: Mapping[str, Callable[[Node], Node]] = {
        "services": lambda node: expand_service(node, place, findings),
        "secrets": lambda node: _with_path(node, "file", place),
        "configs": lambda node: _with_path(node, "file", place),
    }
    for section, change in expanding.items():
        if section in table:
            entries = {}
            with findings.collecting():
                entries = {name: try_change(findings, change, node) for name, node in table_of(table[section]).items()}
            table[section] = table[section].holding({name: node for name, node in entries.items() if node is not None})
    return root.holding(table)


def expand_service(node: Node, place: Place, findings: Findings) -> Node:
    """Write every key of a service in its longest form. A key that is wrong is noted, and left out."""
    table = {}
    for key, entry in table_of(node).items():
        change = _REWRITING.get(key)
        if key in _PLACING:
            change = _placing(_PLACING[key], place)
        if change is None or entry.tag == "!reset":
            table[key] = entry
        elif (changed := try_change(findings, change, entry)) is not None:
            table[key] = changed
    return node.holding(table)


def _placing(change: Callable[[Node, Place], Node], place: Place) -> Callable[[Node], Node]:
    return lambda node: change(node, place)


def _as_table(node: Node) -> Node:
    """Turn a list of `name=value` into a table; a name alone has no value."""
    if not isinstance(node.value, tuple):
        table_of(node)
        return node
    entries = {}
    for item in node.value:
        name, found, value = text_of(item).partition("=")
        entries[name] = item.holding(value if found else None)
    return node.holding(entries)


def _hosts(node: Node) -> Node:
    """Collect addresses by host name: `name=address` or `name:address`. A name may come more than once."""
    if isinstance(node.value, Mapping):
        # As a list, so that addresses of several files add up.
        return node.holding({name: _list(entry) for name, entry in node.value.items()})
    entries: dict[str, Node] = {}
    for item in items_of(node):
        match = re.fullmatch(r"([^:=\s]+)\s*[:=]\s*(\S+)", text_of(item))
        if not match:
            raise NodeError(item, f"{item.value!r} is not a host with an address", "name=address")
        before = items_of(entries[match[1]]) if match[1] in entries else ()
        # [::1] is an address of IPv6 as urls write it.
        entries[match[1]] = item.holding((*before, item.holding(match[2].strip("[]"))))
    return node.holding(entries)


def _names(node: Node, **common: str) -> Node:
    """Turn a list of names into a table with an entry for each."""
    if not isinstance(node.value, tuple):
        return node
    return node.holding({text_of(item): item.with_table(**common) for item in node.value})


def _list(node: Node) -> Node:
    return node.holding((node.holding(node.value),)) if isinstance(node.value, str) else node


def _build(node: Node, place: Place) -> Node:
    table = dict(table_of(node.with_table(context=text_of(node)) if isinstance(node.value, str) else node))
    context = table.get("context", node.holding("."))
    if not _REMOTE.match(text_of(context)):
        context = context.holding(place(text_of(context)))
    table["context"] = context
    rewriting: Mapping[str, Callable[[Node], Node]] = {
        "args": _as_table,
        "labels": _as_table,
        "ssh": _as_table,
        "extra_hosts": _hosts,
        "secrets": _grants,
        "additional_contexts": partial(_contexts, place=place),
    }
    for key, change in rewriting.items():
        if key in table and table[key].value is not None:
            table[key] = change(table[key])
    return node.holding(table)


def _contexts(node: Node, place: Place) -> Node:
    entries = {}
    for name, entry in table_of(_as_table(node)).items():
        text = text_of(entry)
        entries[name] = entry if _REMOTE.match(text) else entry.holding(place(text))
    return node.holding(entries)


def _env_files(node: Node, place: Place) -> Node:
    files = []
    for item in items_of(_list(node)):
        table = table_of(item.with_table(path=text_of(item)) if isinstance(item.value, str) else item)
        if "path" not in table:
            raise NodeError(item, "names no file", "path: FILE")
        files.append(item.holding({**table, "path": table["path"].holding(place(text_of(table["path"])))}))
    return node.holding(tuple(files))


def _extends(node: Node, place: Place) -> Node:
    table = dict(table_of(node.with_table(service=text_of(node)) if isinstance(node.value, str) else node))
    if "file" in table:
        table["file"] = table["file"].holding(place(text_of(table["file"])))
    return node.holding(table)


def _healthcheck(node: Node) -> Node:
    table = dict(table_of(node))
    test = table.get("test")
    if test is not None and isinstance(test.value, str):
        table["test"] = test.holding((test.holding("CMD-SHELL"), test))
    return node.holding(table)


def _ports(node: Node) -> Node:
    return node.holding(tuple(port for item in items_of(node) for port in _port(item)))


def _port(item: Node) -> tuple[Node, ...]:
    """Read a port or a range of them: [[IP:]HOST:]CONTAINER[/PROTOCOL]."""
    if isinstance(item.value, Mapping):
        if "target" not in item.value:
            raise NodeError(item, "names no port of the container", "target: PORT")
        return (item,)
    rest, _, protocol = text_of(item).partition("/")
    host, _, inner = rest.rpartition(":")
    address, _, outer = host.rpartition(":")
    match = _PORT.fullmatch(inner)
    if not match or (outer and not _PORT.fullmatch(outer)):
        raise NodeError(
            item, f"{item.value!r} is not a port", "[[IP:]HOST:]CONTAINER[/PROTOCOL], each a number or FROM-TO"
        )
    last = int(match[2] or match[1])
    if not 0 < int(match[1]) <= last <= 65535:
        raise NodeError(item, f"{item.value!r} is not a range of ports", "numbers from 1 to 65535, the smaller first")
    common = {"protocol": protocol or "tcp", "host_ip": address or None, "published": outer or None}
    return tuple(item.with_table(target=str(port), **common) for port in range(int(match[1]), last + 1))


def _volumes(node: Node, place: Place) -> Node:
    return node.holding(tuple(_volume(item, place) for item in items_of(node)))


def _volume(item: Node, place: Place) -> Node:
    """Read a mount: [VOLUME-OR-PATH:]PATH-INSIDE[:MODE]."""
    if isinstance(item.value, Mapping):
        source = item.get("source")
        if text_of(item.value.get("type", item.holding("volume"))) == "bind" and source is not None:
            return item.holding({**item.value, "source": source.holding(place(text_of(source)))})
        return item
    parts = _split_mount(text_of(item))
    if len(parts) == 1:
        return item.with_table(type="volume", target=parts[0])
    if not parts[0]:
        reason = f"{item.value!r} has nothing in front of its colon; a variable without a value leaves nothing"
        raise NodeError(item, reason, "env={...} for the variable, or [VOLUME-OR-PATH:]PATH-INSIDE[:MODE]")
    if len(parts) > 3 or not parts[1].startswith("/"):
        raise NodeError(item, f"{item.value!r} is not a mount", "[VOLUME-OR-PATH:]PATH-INSIDE[:MODE]")
    modes = parts[2].split(",") if len(parts) == 3 else []
    is_path = parts[0].startswith((".", "~")) or is_absolute(parts[0])
    mount = item.with_table(
        type="bind" if is_path else "volume",
        source=place(parts[0]) if is_path else parts[0],
        target=parts[1],
        read_only=True if "ro" in modes else None,
        short="true",
    )
    if "nocopy" in modes and isinstance(mount.value, Mapping):
        return mount.holding({**mount.value, "volume": item.with_table(nocopy=True)})
    return mount


def _split_mount(text: str) -> list[str]:
    """Split a mount at its colons, but not behind a drive of Windows."""
    drive, _, rest = text.partition(":")
    is_drive = len(drive) == 1 and drive.isalpha() and (rest.startswith("\\") or ":/" in rest)
    first, *more = rest.split(":") if is_drive else text.split(":")
    return [f"{drive}:{first}" if is_drive else first, *more]


def _grants(node: Node) -> Node:
    """Write the secrets and configs that a service is given as tables."""
    return node.holding(
        tuple(item.with_table(source=item.value) if isinstance(item.value, str) else item for item in items_of(node))
    )


def _with_path(node: Node, key: str, place: Place) -> Node:
    table = dict(table_of(node))
    if key in table:
        table[key] = table[key].holding(place(text_of(table[key])))
    return node.holding(table)


_REWRITING: Mapping[str, Callable[[Node], Node]] = {
    "annotations": _as_table,
    "configs": _grants,
    "depends_on": partial(_names, condition="service_started"),
    "dns": _list,
    "dns_search": _list,
    "environment": _as_table,
    "extra_hosts": _hosts,
    "healthcheck": _healthcheck,
    "labels": _as_table,
    "networks": _names,
    "ports": _ports,
    "secrets": _grants,
    "sysctls": _as_table,
    "tmpfs": _list,
}
_PLACING: Mapping[str, Callable[[Node, Place], Node]] = {
    "build": _build,
    "env_file": _env_files,
    "extends": _extends,
    "volumes": _volumes,
}
