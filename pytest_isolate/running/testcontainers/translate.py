"""A module's settings in the keys of service(), and what of them cannot be honoured. Reads the host's files only."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_isolate.declarations.placeholders import escape
from pytest_isolate.model.probes import Command
from pytest_isolate.model.service import Refusal
from pytest_isolate.running.testcontainers.adapted import Settings

_VOLUME = re.compile(r"[A-Za-z0-9][\w.-]+")
_OWN_FIXTURE = "leave it out, or start this container with testcontainers itself, in a fixture of your own"
_IN_A_STACK = (
    "leave it out: services of one stack(), or outside of stacks, find each other by the names of their fixtures"
)
# What the run does anyway.
_TRUE_ANYWAY = frozenset({"auto_remove", "detach", "remove"})
_ADVICE = {
    "privileged": "leave it out; cap_add=[...] and new_privileges=True of service() give back what a server needs",
    "network": _IN_A_STACK,
    "network_mode": _IN_A_STACK,
    "networking_config": _IN_A_STACK,
    "links": _IN_A_STACK,
    "name": "leave it out: each run gives its containers names of its own, so that runs can be side by side",
    "mounts": "with_volume_mapping() or with_copy_into_container()",
    "environment": "with_env(), or env= of service()",
}


def translate(settings: Settings) -> tuple[dict[str, object], list[Refusal]]:
    """Values for the keys of service(), and what is refused."""
    refusals: list[Refusal] = []
    values: dict[str, object] = {
        "image": settings.image,
        "env": {name: _literal(value) for name, value in settings.env.items() if value is not None},
        "ports": _ports(settings.ports, refusals),
        "files": {},
        "volumes": {},
        "container": {},
        "timeout": max(settings.timeout_s, 1.0),
    }
    if settings.command is not None:
        values["command"] = _words(settings.command)
    _add_volumes(settings.volumes, values, refusals)
    _add_files(settings, values)
    _add_memory_folders(settings.tmpfs, values, refusals)
    refusals += _refuse_identity(settings)
    for key, value in settings.options.items():
        _add_option(key, value, values, refusals)
    return {key: value for key, value in values.items() if value not in ({}, [])}, refusals


def _literal(value: object) -> str:
    return escape(str(value))


def _words(command: object) -> list[str]:
    words = command if isinstance(command, (list, tuple)) else shlex.split(str(command))
    return [_literal(word) for word in words]


def _ports(ports: Mapping[str, object], refusals: list[Refusal]) -> list[int]:
    found = []
    for text, outer in ports.items():
        number, _, protocol = text.partition("/")
        if protocol not in ("", "tcp") or not number.isdigit():
            refusals.append(
                Refusal(f"the port {text!r} cannot be published: ports of a module are of TCP", _OWN_FIXTURE)
            )
            continue
        if outer is not None:
            reason = f"port {number} cannot be bound to port {outer} of the host: another run may have it"
            refusals.append(Refusal(reason, f"with_exposed_ports({number}), and ask get_exposed_port({number})"))
        found.append(int(number))
    return found


def _add_volumes(
    volumes: Mapping[str, Mapping[str, object]], values: dict[str, object], refusals: list[Refusal]
) -> None:
    """Named volumes as ours; what is mounted to be read is copied in, so that the engine need not see this host."""
    files, named = _table(values, "files"), _table(values, "volumes")
    for host, mount in volumes.items():
        target, is_read_only = str(mount["bind"]), "ro" in str(mount.get("mode", "ro")).split(",")
        path = Path(host).expanduser()
        if not path.exists() and _VOLUME.fullmatch(host):
            named[host] = target
        elif is_read_only and (path.is_file() or path.is_dir()):
            files[target.rstrip("/")] = {"path": str(path.absolute())}
        elif is_read_only:
            refusals.append(Refusal(f"there is no file or folder {host} to be read at {target}", "a path that exists"))
        else:
            reason = f"{host} of this host cannot be mounted at {target} to be written: another run may use it"
            do = "map it with mode 'ro', which copies it in, or name a volume in place of a path"
            refusals.append(Refusal(reason, do))


def _add_files(settings: Settings, values: dict[str, object]) -> None:
    files = _table(values, "files")
    for content, target, mode in settings.files:
        if isinstance(content, bytes):
            files[target] = {"text": content, "mode": mode}
        elif content.is_dir():
            files[f"{target.rstrip('/')}/{content.name}"] = {"path": str(content.absolute())}
        else:
            files[target] = {"path": str(content.absolute()), "mode": mode}


def _table(values: dict[str, object], key: str) -> dict[str, object]:
    table = values[key]
    assert isinstance(table, dict)
    return table


def _add_memory_folders(tmpfs: object, values: dict[str, object], refusals: list[Refusal]) -> None:
    sizes = tmpfs if isinstance(tmpfs, Mapping) else dict.fromkeys(tmpfs) if isinstance(tmpfs, Sequence) else {}
    for path, size in sizes.items():
        if size:
            refusals.append(
                Refusal(f"the folder {path} in memory cannot be limited to {size!r}", f"with_tmpfs_mount({path!r})")
            )
    if sizes:
        known = values.get("in_memory", [])
        assert isinstance(known, list)
        values["in_memory"] = [*known, *sizes]


def _refuse_identity(settings: Settings) -> Iterator[Refusal]:
    if settings.name:
        yield Refusal(f"with_name({settings.name!r}) cannot be honoured", _ADVICE["name"])
    if settings.network is not None or settings.aliases:
        what = "with_network()" if settings.network is not None else "with_network_aliases()"
        yield Refusal(f"{what} cannot be honoured", _IN_A_STACK)


def _add_option(key: str, value: object, values: dict[str, object], refusals: list[Refusal]) -> None:
    """One of with_kwargs(), which are those of the docker SDK's `containers.create`."""
    if value in (None, False, "", [], {}, ()) or key in _TRUE_ANYWAY:
        return
    if key == "tmpfs":
        _add_memory_folders(value, values, refusals)
    elif key == "healthcheck":
        _add_health_check(value, values, refusals)
    elif key in _HANDED_ON:
        ours = "dns_options" if key == "dns_opt" else key
        _table(values, "container")[ours] = str(value) if key in ("user", "working_dir") else value
    elif key in _OPTIONS:
        ours, convert = _OPTIONS[key]
        values[ours] = convert(value)
    else:
        refusals.append(Refusal(f"{key}={value!r} cannot be honoured", _ADVICE.get(key, _OWN_FIXTURE)))


def _add_health_check(value: object, values: dict[str, object], refusals: list[Refusal]) -> None:
    match value.get("test") if isinstance(value, Mapping) else None:
        case str(text) | ["CMD-SHELL", str(text)]:
            values["ready"] = Command(argv=("/bin/sh", "-c", text))
        case ["CMD", *argv]:
            values["ready"] = Command(argv=tuple(map(str, argv)))
        case _:
            refusals.append(Refusal(f"healthcheck={value!r} cannot be honoured", "ready=command(...) of service()"))


# Options of the SDK that are settings of the key `container`.
_HANDED_ON = frozenset(
    {"cap_drop", "dns", "dns_opt", "dns_search", "domainname", "extra_hosts", "group_add", "hostname", "init"}
    | {"read_only", "stdin_open", "stop_signal", "sysctls", "user", "working_dir"}
)
_OPTIONS: Mapping[str, tuple[str, Callable[[object], object]]] = {
    "entrypoint": ("entrypoint", _words),
    "mem_limit": ("memory", lambda value: value),
    "shm_size": ("shm_size", lambda value: value),
    "nano_cpus": ("cpus", lambda value: value / 1e9 if isinstance(value, (int, float)) else value),
    "pids_limit": ("pids", lambda value: value),
    "cap_add": ("cap_add", lambda value: value),
}
