"""The key `container` of a declaration: settings that are handed on to the engine, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pytest_isolate.declarations.values import (
    InvalidValue,
    parse_capabilities,
    parse_flag,
    parse_mapping,
    parse_names,
    parse_text,
    unknown_key,
)
from pytest_isolate.errors import suggest
from pytest_isolate.model.declaration import in_words
from pytest_isolate.model.host_path import is_absolute
from pytest_isolate.model.identity import LABEL
from pytest_isolate.model.service import OF_SERVICE, ContainerSettings, Pairs, Ulimit

NAMESPACES = ("cgroup", "ipc", "pid", "userns", "uts")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]{1,9})?")
_NOT_OURS = f"a name that does not begin with {LABEL}"


def parse_container(value: object) -> ContainerSettings:
    """A table of settings, each under the name that Compose files have for it."""
    if isinstance(value, ContainerSettings):
        return value
    table = parse_mapping(value)
    parsed: dict[str, object] = {}
    for key, content in table.items():
        if key not in _PARSERS:
            raise unknown_key(key, CONTAINER_KEYS)
        if content is None:
            continue
        try:
            parsed[key] = _PARSERS[key](content)
        except InvalidValue as wrong:
            raise wrong.within(key) from None
    return ContainerSettings(**parsed)  # type: ignore[arg-type]  # each by its own parser


def _parse_host_name(value: object) -> str:
    text = parse_text(value)
    if not _HOST_NAME.fullmatch(text):
        raise InvalidValue(f"{in_words(value)} is not a host name", "letters, digits, '-', '_' and '.'")
    return text


def _parse_host_names(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_parse_host_name, parse_names(value))))


def _parse_pairs(value: object) -> Pairs:
    pairs = []
    for name, content in parse_mapping(value).items():
        if not isinstance(content, (str, int, float)):
            raise InvalidValue(f"{in_words(content)} is not a text", "a text or a number", name)
        pairs.append((name, str(content)))
    return tuple(sorted(pairs))


def parse_labels(value: object) -> Pairs:
    """Labels, none of them one of this plugin's own."""
    pairs = _parse_pairs(value)
    for name, _ in pairs:
        if name.partition(".")[0] == LABEL:
            raise InvalidValue(f"the label {name!r} is one of this plugin's own", _NOT_OURS, name)
    return pairs


def parse_hosts(value: object) -> Pairs:
    """Addresses by name: one, or a list of them."""
    pairs = []
    for name, content in parse_mapping(value).items():
        addresses = parse_names([content] if isinstance(content, str) else content)
        pairs += [(_parse_host_name(name), address) for address in addresses]
    return tuple(sorted(pairs))


def _parse_tmpfs(value: object) -> Pairs:
    """Mount options by folder, or a list of folders."""
    table = dict.fromkeys(parse_names(value), "") if isinstance(value, (list, tuple)) else parse_mapping(value)
    for folder, options in table.items():
        if not folder.startswith("/") or folder == "/":
            raise InvalidValue(
                f"{in_words(folder)} is not a folder inside the container", "an absolute path such as '/run'"
            )
        if not isinstance(options, str):
            raise InvalidValue(
                f"{in_words(options)} is not a text", "mount options such as 'size=64m,mode=1777'", folder
            )
    return _parse_pairs(table)


def _parse_binds(value: object) -> Pairs:
    """Paths on the engine's host by path inside; `:ro` behind one keeps the container from writing."""
    pairs = _parse_pairs(value)
    for inside, outside in pairs:
        for path, is_fit in ((inside, inside.startswith("/")), (outside, is_absolute(outside))):
            if not is_fit:
                raise InvalidValue(f"{path!r} is not an absolute path", "such as '/dev/shm'", inside)
    return pairs


def _parse_namespaces(value: object) -> Pairs:
    """Namespaces of the kernel that are not the container's own."""
    pairs = _parse_pairs(value)
    for name, _ in pairs:
        if name not in NAMESPACES:
            raise InvalidValue(f"{name!r} is not a namespace{suggest(name, NAMESPACES)}", ", ".join(NAMESPACES), name)
    return pairs


def _parse_network(value: object) -> str:
    text = parse_text(value)
    if text != "host" and not text.startswith(OF_SERVICE):
        raise InvalidValue(f"{value!r} is not a network", f"'host', or '{OF_SERVICE}NAME'")
    return text


def _parse_restart(value: object) -> str:
    text = parse_text(value)
    if not _RESTART.fullmatch(text):
        valid = "'no', 'always', 'unless-stopped', 'on-failure', or such as 'on-failure:3'"
        raise InvalidValue(f"{in_words(value)} is not a restart policy", valid)
    return "" if text == "no" else text


def _parse_ulimits(value: object) -> tuple[Ulimit, ...]:
    """Limits by name: one number for both, or a table of soft and hard."""
    found = []
    for name, limit in sorted(parse_mapping(value).items()):
        both = limit if isinstance(limit, Mapping) else {"soft": limit, "hard": limit}
        numbers = [n for n in (both.get("soft"), both.get("hard")) if isinstance(n, int) and not isinstance(n, bool)]
        if set(both) != {"soft", "hard"} or len(numbers) != 2:
            raise InvalidValue(f"{in_words(limit)} is not a limit", "a whole number, or {soft = ..., hard = ...}", name)
        found.append(Ulimit(name=name, soft=numbers[0], hard=numbers[1]))
    return tuple(found)


def _parse_user(value: object) -> str:
    """A name or number, with `:` and a group's where that is given."""
    return parse_text(str(value) if isinstance(value, int) and not isinstance(value, bool) else value)


def _parse_groups(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
        raise InvalidValue(f"{in_words(value)} is not a list of groups", "a list of names and numbers")
    return tuple(map(_parse_user, value))


_PARSERS: Mapping[str, Callable[[object], object]] = {
    "aliases": _parse_host_names,
    "binds": _parse_binds,
    "cap_drop": parse_capabilities,
    "device_cgroup_rules": parse_names,
    "devices": parse_names,
    "dns": parse_names,
    "dns_options": parse_names,
    "dns_search": parse_names,
    "domainname": _parse_host_name,
    "extra_hosts": parse_hosts,
    "gpus": parse_names,
    "group_add": _parse_groups,
    "hostname": _parse_host_name,
    "init": parse_flag,
    "labels": parse_labels,
    "namespaces": _parse_namespaces,
    "network": _parse_network,
    "privileged": parse_flag,
    "read_only": parse_flag,
    "restart": _parse_restart,
    "security_opt": parse_names,
    "stdin_open": parse_flag,
    "stop_signal": parse_text,
    "sysctls": _parse_pairs,
    "tmpfs": _parse_tmpfs,
    "ulimits": _parse_ulimits,
    "user": _parse_user,
    "working_dir": parse_text,
}
CONTAINER_KEYS = tuple(_PARSERS)
