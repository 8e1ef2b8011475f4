"""Mounts of a service: named volumes, copies of files of the host, folders in memory, secrets and configs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from msgspec.structs import replace

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    entries_of,
    flag_of,
    is_external,
    items_of,
    table_of,
    text_of,
    unsupported,
    whole_number_of,
)
from pytest_isolate.compose_files.rights import DEVICES, DOCKER_SOCK, PRIVILEGED
from pytest_isolate.declarations.placeholders import escape
from pytest_isolate.model.host_path import is_absolute, join_path

_MOUNT_KEYS = keys("type source target read_only consistency bind volume tmpfs image short")
_OF_THE_SYSTEM = ("/", "/etc", "/boot", "/var", "/var/lib", "/lib/modules", "/private", "/private/etc", "/private/var")
_AND_ALL_BELOW = ("/proc", "/sys", "/run", "/var/run", "/var/lib/docker", "/System")
# A whole drive, and what belongs to Windows on any of them.
_OF_WINDOWS = re.compile(r"[A-Z]:/((Windows|ProgramData|Program Files( \(x86\))?)(/.*)?)?", re.IGNORECASE)
_ENGINE_SOCKETS = ("docker.sock", "podman.sock", "containerd.sock")
_GRANT_KEYS = keys("source target uid gid mode")
_READABLE = 0o444
_MOST_MODE = 0o7777


def translate_volumes(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate every mount. Named volumes are the stack's; of the host's folders the container gets copies."""
    return _translate_mounts(items_of(node), around)


def _translate_mounts(items: Iterable[Node], around: ServiceContext) -> dict[str, object]:
    taken: dict[str, dict[str, object]] = {"volumes": {}, "files": {}, "container": {}}
    for number, item in enumerate(items):
        with around.findings.collecting():
            for key, entries in _mount(item, number, around).items():
                if key == "volumes":
                    # One volume may be mounted at several places.
                    entries = {name: _places(taken[key].get(name), target) for name, target in entries.items()}
                taken[key] = join(taken[key], entries)
    return {key: entries for key, entries in taken.items() if entries}


def _places(before: object, more: object) -> object:
    if before is None:
        return more
    return [*(before if isinstance(before, list) else [before]), more]


def translate_volumes_from(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate all mounts of other services: [container:]NAME[:ro]."""
    found: dict[str, object] = {}
    for item in items_of(node):
        with around.findings.collecting():
            text = text_of(item)
            name, _, mode = text.removeprefix("container:").partition(":")
            if text.startswith("container:"):
                name = around.named(around.neighbour(f"container:{name}", item))
            member = around.member(name, item)
            other = replace(around, name=name, node=around.services[name])
            mounts = entries_of(other.node, "volumes")
            if mode == "ro":
                mounts = tuple(m.holding({**table_of(m), "read_only": m.holding("true")}) for m in mounts)
            found = join(found, {**_translate_mounts(mounts, other), "needs": [member]})
    return found


def join(before: Mapping[str, object], more: Mapping[str, object]) -> dict[str, object]:
    """Join two tables; where both hold a table or a list under a key, these are joined too."""
    joined = dict(before)
    for key, value in more.items():
        old = joined.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            joined[key] = {**old, **value}
        elif isinstance(old, list) and isinstance(value, list):
            joined[key] = [*dict.fromkeys([*old, *value])]
        else:
            joined[key] = value
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
        if key == "nocopy":
            around.findings.note(entry, "is left out: an empty volume is filled with what the image has there")
        elif key != "labels" and not key.startswith("x-"):
            # The volume is mounted all the same where that is a warning.
            around.findings.add(unsupported(entry, f"the option {key!r} of a volume"))
    source = item.get("source")
    if source is None:
        return {"volumes": {f"{around.name}-{number}": _with_mode(item, path)}}
    name = text_of(source)
    declared = around.declared("volumes", name, source)
    folder = _bound_folder(declared)
    if folder is not None:
        return _bind(item.holding({**table_of(item), "source": folder}), path, around)
    _note_volume(declared, around)
    return {"volumes": {name: _with_mode(item, path)}}


def _bound_folder(declared: Node) -> Node | None:
    """The folder of the host that a volume stands for: `o: bind` and `device: PATH`."""
    options = declared.get("driver_opts")
    device, how = (options.get("device"), options.get("o")) if options is not None else (None, None)
    is_bind = how is not None and "bind" in text_of(how).split(",")
    return device if is_bind and device is not None and is_absolute(text_of(device)) else None


def _note_volume(declared: Node, around: ServiceContext) -> None:
    driver, options = declared.get("driver"), declared.get("driver_opts")
    own = "the stack has its own volume, which is empty at its start"
    if is_external(declared):
        around.findings.note(declared, f"an external volume: {own}")
    if driver is not None and text_of(driver) != "local":
        around.findings.note(driver, f"the volume driver {driver.value!r} is left out: {own}")
    if options is not None and options.value:
        around.findings.note(options, f"are left out, options of a volume's driver: {own}")


def _with_mode(item: Node, path: str) -> str:
    return f"{path}:ro" if _is_read_only(item) else path


def _is_read_only(item: Node) -> bool:
    read_only = item.get("read_only")
    return read_only is not None and flag_of(read_only)


def _bind(item: Node, path: str, around: ServiceContext) -> dict[str, dict[str, object]]:
    """A file or folder of the host; an empty volume where nothing is there, which Compose would make."""
    source = item.get("source")
    if source is None:
        raise NodeError(item, "has no source", "source: PATH")
    found = join_path("/", text_of(source))
    kind = around.host.kind_of(found)
    permission = _permission_for(found, kind)
    if permission:
        around.require(permission, item, f"{found} is the host's own, and containers are kept apart from it")
        return {"container": {"binds": {path: f"{found}:ro" if _is_read_only(item) else found}}}
    if kind == "closed":
        raise unsupported(item, f"{found} may not be read by the user that runs the tests, so it cannot be copied")
    if kind == "":
        bind = item.get("bind")
        makes = bind.get("create_host_path") if bind is not None else item.get("short")
        if makes is None or not flag_of(makes):
            raise NodeError(source, f"there is no file or folder {found}")
        return {"volumes": {f"empty:{found}": _with_mode(item, path)}}
    return {"volumes": {found: _with_mode(item, path)}}


def _permission_for(path: str, kind: str) -> str:
    """The permission that a path of the host needs; none if it is copied."""
    if posixpath.basename(path) in _ENGINE_SOCKETS:
        return DOCKER_SOCK
    if PurePosixPath(path).is_relative_to("/dev"):
        return DEVICES
    is_of_the_system = path in _OF_THE_SYSTEM or any(PurePosixPath(path).is_relative_to(f) for f in _AND_ALL_BELOW)
    return PRIVILEGED if is_of_the_system or _OF_WINDOWS.fullmatch(path) or kind == "other" else ""


def _tmpfs_options(item: Node) -> str:
    options = item.get("tmpfs")
    words = []
    for key, entry in table_of(options).items() if options is not None else ():
        if key == "size":
            words.append(f"size={text_of(entry).lower().removesuffix('b')}")
        elif key == "mode":
            words.append(f"mode={whole_number_of(entry):o}")
        else:
            raise unsupported(entry, f"the option {key!r} of a folder in memory")
    return ",".join(words)


def translate_tmpfs(node: Node, _: ServiceContext) -> dict[str, object]:
    """Translate folders in memory: PATH[:OPTIONS]."""
    found = {}
    for item in items_of(node):
        path, *options = text_of(item).split(":", 1)
        found[path] = "".join(options)
    return {"container": {"tmpfs": found}}


def translate_secrets(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate secrets into files in /run/secrets."""
    return _grants(node, "secrets", "/run/secrets", around)


def translate_configs(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate configs into files, at the root where nothing else is said."""
    return _grants(node, "configs", "/", around)


def _grants(node: Node, section: str, folder: str, around: ServiceContext) -> dict[str, object]:
    files = {}
    for item in items_of(node):
        with around.findings.collecting():
            around.findings.check_keys(table_of(item), _GRANT_KEYS)
            source, target, mode = (item.get(key) for key in ("source", "target", "mode"))
            if source is None:
                raise NodeError(item, "has no source", f"a name that {section} declares")
            name = text_of(source)
            path = posixpath.join(folder, text_of(target) if target is not None else name)
            content = _content(around.declared(section, name, source), around)
            files[path] = {**content, "mode": f"{_mode(mode):04o}", **_owner(item)}
    return {"files": files} if files else {}


def _owner(item: Node) -> dict[str, str]:
    uid, gid = (whole_number_of(node) if node is not None else 0 for node in (item.get("uid"), item.get("gid")))
    return {"owner": f"{uid}:{gid}"} if uid or gid else {}


def _mode(node: Node | None) -> int:
    """A file's mode as Compose reads it: a number of YAML, so that only 0440 without quotes is octal."""
    if node is None:
        return _READABLE
    text = text_of(node)
    if not text.isdigit() or int(text) > _MOST_MODE:
        raise NodeError(node, f"{node.value!r} is not a file mode", "such as 0440")
    return int(text)


def _content(declared: Node, around: ServiceContext) -> dict[str, object]:
    """The source of the content of a secret or config."""
    driver = declared.get("driver") or declared.get("template_driver")
    if is_external(declared):
        raise unsupported(declared.get("external") or declared, "it lies outside of the file, and is not to be had")
    if driver is not None:
        raise unsupported(driver, f"the driver {driver.value!r}")
    file, variable = declared.get("file"), declared.get("environment")
    content = table_of(declared).get("content")  # which may be empty
    if file is not None:
        if around.host.kind_of(text_of(file)) != "file":
            raise NodeError(file, f"there is no file {file.value}")
        return {"path": text_of(file)}
    if content is not None and content.value is not None:
        return {"text": escape(text_of(content))}
    if variable is None:
        raise NodeError(declared, "has no content", "file: PATH, environment: VARIABLE, or content: TEXT")
    value = around.project.variables.get(text_of(variable))
    if value is None:
        raise NodeError(variable, f"the variable {variable.value} has no value", "env={...}, or in the environment")
    return {"text": escape(value)}
