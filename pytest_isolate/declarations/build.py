"""The key `build` of a declaration: an image that is made here, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath

from pytest_isolate.declarations.container import parse_hosts, parse_labels
from pytest_isolate.declarations.files import absolute, parse_env
from pytest_isolate.declarations.values import (
    InvalidValue,
    known_keys,
    parse_mapping,
    parse_names,
    parse_size,
    parse_text,
)
from pytest_isolate.model.declaration import in_words
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import Build, BuildSecret, Pairs

_PLACES = "{env = 'NAME'}, a variable of the environment, or {file = 'path'}"
_SECRET_NAME = re.compile(r"[\w.-]+")
_ADDRESS = re.compile(r"[a-z][a-z0-9+-]*://|git@")
_OPTIONS = re.compile(r"[a-z_-]+=[^,]*(,[\w-]+=[^,]*)*")


def parse_build(value: object, location: Location) -> Build:
    """A Dockerfile and how it is built; paths are relative to the file that says so."""
    table = value if isinstance(value, Mapping) else {"context": value}
    known_keys(table, BUILD_KEYS)
    if "context" not in table:
        raise InvalidValue("needs a context", "the folder that holds the Dockerfile", "context")
    if table.get("dockerfile") is not None and table.get("dockerfile_inline") is not None:
        raise InvalidValue("goes with no dockerfile", "one of the two", "dockerfile_inline")
    parsed: dict[str, object] = {}
    for key, (field, parse) in _PARSERS.items():
        if table.get(key) is None and key != "context":
            continue
        try:
            parsed[field] = parse(table[key], location)
        except InvalidValue as wrong:
            raise (wrong.within(key) if table is value else wrong) from None
    parsed["dockerfile"] = str(PurePath(str(parsed["context"])) / str(parsed.get("dockerfile", "Dockerfile")))
    return Build(**parsed)  # type: ignore[arg-type]  # each by its own parser


def _parse_secrets(value: object, location: Location) -> tuple[BuildSecret, ...]:
    secrets = []
    for name, content in sorted(parse_mapping(value).items()):
        if not _SECRET_NAME.fullmatch(name):
            raise InvalidValue(f"{name!r} is not the name of a secret", "letters, digits, '-', '_' and '.'", name)
        if not isinstance(content, Mapping):  # of what stands there nothing is told: it may be the secret itself
            raise InvalidValue("is not the place of a secret", _PLACES, name)
        table = known_keys(content, ("env", "file"), name)
        if len(table) != 1:
            raise InvalidValue("needs either env or file", _PLACES, name)
        try:
            (kind, place) = next((kind, parse_text(place)) for kind, place in table.items())
        except InvalidValue as wrong:
            raise wrong.within(f"{name}.{next(iter(table))}") from None
        file = absolute(place, location) if kind == "file" else ""
        secrets.append(BuildSecret(name=name, env=place if kind == "env" else "", file=file))
    return tuple(secrets)


def _parse_ssh(value: object, location: Location) -> tuple[str, ...]:
    """Agents and keys: `true` for the agent of this session, else as `docker buildx build --ssh` takes them."""
    if isinstance(value, bool):
        return ("default",) if value else ()
    entries = []
    for entry in parse_names([value] if isinstance(value, str) else value):
        name, equals, paths = entry.partition("=")
        if not name.strip():
            raise InvalidValue(f"{entry!r} names no key", "true, 'default', or 'NAME=path of a key or socket'")
        entries.append(name + equals + ",".join(absolute(path, location) for path in paths.split(",") if path))
    return tuple(entries)


def _parse_caches(value: object, _: Location) -> tuple[str, ...]:
    caches = parse_names([value] if isinstance(value, str) else value)
    for cache in caches:
        if not cache.strip() or ("=" in cache and (not _OPTIONS.fullmatch(cache) or "type=" not in cache)):
            valid = "the name of an image, or options such as 'type=registry,ref=NAME'"
            raise InvalidValue(f"{cache!r} is not a cache", valid)
    return caches


def _parse_contexts(value: object, location: Location) -> Pairs:
    contexts = []
    for name, content in parse_mapping(value).items():
        if not isinstance(content, (str, PurePath)) or not str(content).strip():
            raise InvalidValue(f"{in_words(content)} is not a context", "a folder, or docker-image://NAME", name)
        text = str(content)
        contexts.append((name, text if _ADDRESS.match(text) else absolute(text, location)))
    return tuple(sorted(contexts))


def _plain(parse: Callable[[object], object]) -> Callable[[object, Location], object]:
    return lambda value, _: parse(value)


_PARSERS: Mapping[str, tuple[str, Callable[[object, Location], object]]] = {
    "context": ("context", lambda value, location: absolute(parse_text(value), location)),
    "dockerfile": ("dockerfile", _plain(parse_text)),
    "dockerfile_inline": ("inline", _plain(parse_text)),
    "args": ("args", _plain(parse_env)),
    "target": ("target", _plain(parse_text)),
    "network": ("network", _plain(parse_text)),
    "secrets": ("secrets", _parse_secrets),
    "ssh": ("ssh", _parse_ssh),
    "cache_from": ("cache_from", _parse_caches),
    "cache_to": ("cache_to", _parse_caches),
    "builder": ("builder", _plain(parse_text)),
    "contexts": ("contexts", _parse_contexts),
    "labels": ("labels", _plain(parse_labels)),
    "extra_hosts": ("extra_hosts", _plain(parse_hosts)),
    "shm_size": ("shm_bytes", _plain(parse_size)),
}
BUILD_KEYS = tuple(_PARSERS)
