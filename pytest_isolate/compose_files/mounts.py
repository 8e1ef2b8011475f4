"""Volumes, folders of the host, secrets and configs: as named volumes, copied files and folders in memory."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import PurePosixPath

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
    whole_number_of,
)
from pytest_isolate.declarations.placeholders import escape

_MOUNT_KEYS = keys("type source target read_only consistency bind volume tmpfs image short")
_OF_THE_SYSTEM = ("/", "/etc", "/boot", "/var", "/var/lib", "/lib/modules")
_AND_ALL_BELOW = ("/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/docker")
_GRANT_KEYS = keys("source target uid gid mode")
_READABLE = 0o444


def translate_volumes(node: Node, around: ServiceContext) -> dict[str, object]:
    """Every mount. Named volumes are the stack's; of the host's folders the container gets copies."""
    taken: dict[str, dict[str, object]] = {"volumes": {}, "files": {}, "container": {}}
    for number, item in enumerate(items_of(node)):
        with around.findings.collecting():
            for key, entries in _mount(item, number, around).items():
                again = taken[key].keys() & entries.keys() if key == "volumes" else ()
                if again:
                    raise unsupported(item, f"the volume {', '.join(again)} is mounted twice in one container")
                taken[key] = join(taken[key], entries)
    return {key: entries for key, entries in taken.items() if entries}


def join(before: Mapping[str, object], more: Mapping[str, object]) -> dict[str, object]:
    """Both tables; where both hold a table under a key, these joined."""
    joined = dict(before)
    for key, value in more.items():
        old = joined.get(key)
        joined[key] = {**old, **value} if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return joined


def _mount(item: Node, number: int, around: ServiceContext) -> dict[str, dict[str, object]]:
    around.findings.check_keys(table_of(item), _MOUNT_KEYS)
    kind, target = item.get("type"), item.get("target")
    if target is None:
        raise NodeError(item, "has no target", "target: /path/inside")
    path = posixpath.normpath(text_of(target))
    match text_of(kind) if kind is not None else "volume":
        case "volume":
            return _volume(item, path, number, around)
        case "bind":
            return _bind(item, path, around)
        case "tmpfs":
            return {"container": {"tmpfs": {path: _tmpfs_options(item)}}}
        case other:
            raise unsupported(item, f"mounts of the type {other!r}")


def _volume(item: Node, path: str, number: int, around: ServiceContext) -> dict[str, dict[str, object]]:
    options = item.get("volume")
    for key, entry in table_of(options).items() if options is not None else ():
        if key != "labels" and not key.startswith("x-"):
            raise unsupported(entry, f"the option {key!r} of a volume")
    source = item.get("source")
    if source is None:
        return {"volumes": {f"{around.name}-{number}": _with_mode(item, path)}}
    name = text_of(source)
    _check_volume(around.declared("volumes", name, source))
    return {"volumes": {name: _with_mode(item, path)}}


def _check_volume(declared: Node) -> None:
    external, driver, options = (declared.get(key) for key in ("external", "driver", "driver_opts"))
    if external is not None and (isinstance(external.value, Mapping) or flag_of(external)):
        raise unsupported(external, "a volume that others made would be shared with them")
    if driver is not None and text_of(driver) != "local":
        raise unsupported(driver, f"the volume driver {driver.value!r}")
    if options is not None and options.value:
        raise unsupported(options, "options of a volume's driver")


def _with_mode(item: Node, path: str) -> str:
    read_only = item.get("read_only")
    return f"{path}:ro" if read_only is not None and flag_of(read_only) else path


def _bind(item: Node, path: str, around: ServiceContext) -> dict[str, dict[str, object]]:
    """A copy of the host's file or folder; an empty volume where nothing is there, which Compose would make."""
    source = item.get("source")
    if source is None:
        raise NodeError(item, "has no source", "source: PATH")
    found = text_of(source)
    if found in _OF_THE_SYSTEM or any(PurePosixPath(found).is_relative_to(folder) for folder in _AND_ALL_BELOW):
        raise unsupported(item, f"{found} is the host's own, and containers are kept apart from it")
    match around.host.kind_of(found):
        case "other":
            raise unsupported(item, f"{found} is a socket or a device of the host")
        case "closed":
            raise unsupported(item, f"{found} may not be read by who runs the tests, so it cannot be copied")
        case "":
            bind = item.get("bind")
            makes = bind.get("create_host_path") if bind is not None else item.get("short")
            if makes is None or not flag_of(makes):
                raise NodeError(source, f"there is no file or folder {found}")
            return {"volumes": {f"empty:{found}": _with_mode(item, path)}}
    return {"files": {path: {"path": found}}}


def _tmpfs_options(item: Node) -> str:
    options = item.get("tmpfs")
    words = []
    for key, entry in table_of(options).items() if options is not None else ():
        if key == "size":
            words.append(f"size={text_of(entry).lower().removesuffix('b')}")
        elif key == "mode":
            words.append(f"mode={whole_number_of(entry) if '0' not in text_of(entry)[:1] else text_of(entry)}")
        else:
            raise unsupported(entry, f"the option {key!r} of a folder in memory")
    return ",".join(words)


def translate_tmpfs(node: Node, _: ServiceContext) -> dict[str, object]:
    """Folders in memory: PATH[:OPTIONS]."""
    found = {}
    for item in items_of(node):
        path, *options = text_of(item).split(":", 1)
        found[path] = "".join(options)
    return {"container": {"tmpfs": found}}


def translate_secrets(node: Node, around: ServiceContext) -> dict[str, object]:
    """Secrets as files in /run/secrets."""
    return _grants(node, "secrets", "/run/secrets", around)


def translate_configs(node: Node, around: ServiceContext) -> dict[str, object]:
    """Configs as files, at the root where nothing else is said."""
    return _grants(node, "configs", "/", around)


def _grants(node: Node, section: str, folder: str, around: ServiceContext) -> dict[str, object]:
    files = {}
    for item in items_of(node):
        with around.findings.collecting():
            around.findings.check_keys(table_of(item), _GRANT_KEYS)
            source, target, mode = (item.get(key) for key in ("source", "target", "mode"))
            if source is None:
                raise NodeError(item, "has no source", f"a name that {section} declares")
            for key in ("uid", "gid"):
                owner = item.get(key)
                if owner is not None and text_of(owner) != "0":
                    raise unsupported(owner, f"the {key} of a file that is put into a container: it is root's")
            name = text_of(source)
            path = posixpath.join(folder, text_of(target) if target is not None else name)
            content = _content(around.declared(section, name, source), around)
            files[path] = {**content, "mode": f"{_mode(mode):04o}"}
    return {"files": files} if files else {}


def _mode(node: Node | None) -> int:
    """A file's mode, octal with or without the 0 in front."""
    if node is None:
        return _READABLE
    text = text_of(node).removeprefix("0o")
    if not text or set(text) - set("01234567"):
        raise NodeError(node, f"{node.value!r} is not a file mode", "such as 0440")
    return int(text, 8)


def _content(declared: Node, around: ServiceContext) -> dict[str, object]:
    """Where the content of a secret or config comes from."""
    external, driver = declared.get("external"), declared.get("driver") or declared.get("template_driver")
    if external is not None and (isinstance(external.value, Mapping) or flag_of(external)):
        raise unsupported(external, "what lies outside of the file is not to be had")
    if driver is not None:
        raise unsupported(driver, f"the driver {driver.value!r}")
    file, content, variable = (declared.get(key) for key in ("file", "content", "environment"))
    if file is not None:
        if around.host.kind_of(text_of(file)) != "file":
            raise NodeError(file, f"there is no file {file.value}")
        return {"path": text_of(file)}
    if content is not None:
        return {"text": escape(text_of(content))}
    if variable is None:
        raise NodeError(declared, "has no content", "file: PATH, environment: VARIABLE, or content: TEXT")
    value = around.project.variables.get(text_of(variable))
    if value is None:
        raise NodeError(variable, f"the variable {variable.value} has no value", "env={...}, or in the environment")
    return {"text": escape(value)}
