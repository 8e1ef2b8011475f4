"""The keys of a service, in one table: how each is parsed, and what depends on it; and the hash of a service.

To add one, see docs/extending.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.declarations import values
from pytest_isolate.declarations.build import parse_build
from pytest_isolate.declarations.container import parse_container
from pytest_isolate.declarations.files import parse_env, parse_files, parse_folders, parse_volumes
from pytest_isolate.declarations.probes import parse_probes, parse_reset
from pytest_isolate.model.fresh import COPY_METHODS
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import DEFAULT_SETTINGS, SHARES, Module, ServiceSpec


class Key(NamedTuple):
    """A key of `service()`. `parse` is given the value; where `is_located` also the place that sets it."""

    name: str
    parse: Callable[..., object]
    field: str = ""
    """Its field of ServiceSpec, where that has another name; with `in_settings`, of the spec's ContainerSettings."""
    in_settings: bool = False
    is_located: bool = False
    is_merged: bool = False
    """A change replaces only the entries of the table that it names; an entry that is None is taken out."""
    in_fingerprint: bool = True
    """Changes what runs in the container. The image's own id stands for how the image was made and fetched."""
    in_snapshot_key: bool = True
    """Changes what the first start makes of the service's data."""
    shapes_container: bool = False
    """Means nothing for a service that runs already."""
    is_lasting: bool = False
    """Belongs to the whole stack, and is the same for all variants: no test can change it."""


def _one_of(words: Iterable[str], what: str) -> Callable[[object], str]:
    return partial(values.parse_word, words=words, what=what)


_KEYS = (
    Key("build", parse_build, is_located=True, in_fingerprint=False),
    Key("files", parse_files, is_located=True, is_merged=True, shapes_container=True),
    Key("image", values.parse_text),
    Key("pull", values.parse_pull, in_fingerprint=False),
    Key("platform", values.parse_platform),
    Key("port", values.parse_port, field="ports"),
    Key("ports", values.parse_ports),
    Key("env", parse_env, is_merged=True),
    Key("command", values.parse_argv, shapes_container=True),
    Key("entrypoint", values.parse_argv, shapes_container=True),
    Key("volumes", parse_volumes, is_located=True, is_merged=True, shapes_container=True),
    Key("snapshot", parse_folders, shapes_container=True),
    Key("in_memory", parse_folders, in_snapshot_key=False, shapes_container=True),
    Key("ready", parse_probes, in_snapshot_key=False),
    Key("timeout", values.parse_duration, field="timeout_s", in_fingerprint=False),
    Key("memory", values.parse_memory, field="memory_bytes", in_snapshot_key=False, shapes_container=True),
    Key("shm_size", values.parse_size, field="shm_bytes", in_snapshot_key=False, shapes_container=True),
    Key("cpus", values.parse_cpus, in_snapshot_key=False, shapes_container=True),
    Key("pids", values.parse_pids, in_snapshot_key=False, shapes_container=True),
    Key("cap_add", values.parse_capabilities, in_snapshot_key=False, shapes_container=True),
    Key("new_privileges", values.parse_flag, in_snapshot_key=False, shapes_container=True),
    Key("container", parse_container, is_merged=True, shapes_container=True),
    Key("needs", values.parse_names, shapes_container=True),
    Key("url", values.parse_text),
    Key("user", values.parse_text),
    Key("password", values.parse_password),
    Key("database", values.parse_text),
    Key("copies", _one_of(COPY_METHODS, "is not a way to copy data")),
    Key("reset", parse_reset, in_fingerprint=False),
    Key("scope", values.parse_scope, in_fingerprint=False, is_lasting=True),
    Key("share", _one_of(SHARES, "is not a way to share"), in_fingerprint=False, is_lasting=True),
)
KEYS: Mapping[str, Key] = {key.name: key for key in _KEYS}
SERVICE_KEYS = tuple(KEYS)
LASTING_KEYS = tuple(key.name for key in _KEYS if key.is_lasting)
STACK_KEYS = ("ports", *LASTING_KEYS)
_UNSAID = ServiceSpec(name="", location=Location(file=""))


def build_spec(name: str, location: Location, given: Mapping[str, Any], module: Module | None) -> ServiceSpec:
    """The service with these values, parsed, by key; `port` comes before the rest of `ports`, those of UDP apart."""
    keys = [KEYS[key] for key in given]
    own = {key.field or key.name: given[key.name] for key in keys if not key.in_settings}
    ports = dict.fromkeys((*([given["port"]] if "port" in given else []), *given.get("ports", ())))
    own["ports"] = tuple(port for port in ports if isinstance(port, int))
    own["udp_ports"] = tuple(port for port in ports if isinstance(port, str))
    inner = {key.field or key.name: given[key.name] for key in keys if key.in_settings}
    if inner:
        own["container"] = replace(own.get("container", DEFAULT_SETTINGS), **inner)
    return ServiceSpec(name=name, location=location, module=module, **own)


def leave_out(spec: ServiceSpec, keys: Iterable[Key]) -> ServiceSpec:
    """The service as if nothing was said under these keys."""
    left_out = tuple(keys)
    own = [key.field or key.name for key in left_out if not key.in_settings]
    inner = [key.field or key.name for key in left_out if key.in_settings]
    settings = replace(spec.container, **{field: getattr(DEFAULT_SETTINGS, field) for field in inner})
    return replace(spec, **{"container": settings, **{field: getattr(_UNSAID, field) for field in own}})


# Where it is written down does not change what runs, nor does the module whose values are those of other keys.
_NOT_COVERED = {"location", "module", *(key.field or key.name for key in KEYS.values() if not key.in_fingerprint)}


def fingerprint(
    spec: ServiceSpec,
    *,
    stack: str,
    image_id: str = "",
    dependencies: Mapping[str, str] | None = None,
    contents: Mapping[str, str] | None = None,
) -> str:
    """A hash that is equal exactly when two declarations lead to the same container.

    `dependencies` are fingerprints by alias, `contents` digests of what is copied or mounted from this host, by path;
    they stand for the paths. What is known only at the start (ports, generated passwords) is left out.
    """
    known = spec
    if contents:
        files = tuple(replace(f, source=contents[f.source]) if f.source else f for f in spec.files)
        known = replace(spec, files=files, volumes=tuple((contents.get(name, name), at) for name, at in spec.volumes))
    facts = {
        "spec": {name: _plain(getattr(known, name)) for name in known.__struct_fields__ if name not in _NOT_COVERED},
        "build": _plain(spec.build) if spec.build and not image_id else None,
        "stack": stack,
        "image": image_id,
        "dependencies": dict(dependencies or {}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _plain(value: object) -> object:
    """A form that json writes the same way each time; types are told apart."""
    if isinstance(value, Struct):
        return {"type": type(value).__name__, **{n: _plain(getattr(value, n)) for n in value.__struct_fields__}}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Enum):
        return {"enum": str(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    return value
