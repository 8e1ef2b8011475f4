"""Declarations in TOML, as the same fixtures that service() and stack() make."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from pytest_isolate.declarations.keys import LASTING_KEYS, STACK_KEYS
from pytest_isolate.declarations.loading import Catalogue, load
from pytest_isolate.declarations.members import member_name
from pytest_isolate.declarations.placeholders import parse_references
from pytest_isolate.declarations.run_options import RunOverrides
from pytest_isolate.errors import DeclarationError, Problem, suggest
from pytest_isolate.model.declaration import (
    Declared,
    Layer,
    Preset,
    Raw,
    RawCompose,
    RawFresh,
    RawMember,
    RawService,
    RawStack,
    RawVariants,
)
from pytest_isolate.model.location import Location
from pytest_isolate.plugin.declaring.configuration import Source
from pytest_isolate.plugin.declaring.declare import make_fixture
from pytest_isolate.plugin.declaring.fixtures import DECLARATION, TOO_DEEP
from pytest_isolate.presets.catalogue import PRESETS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KEYS = ("services", "stacks", "compose", "fresh", "variants", "env")
_MOST_LEVELS = 50
_HEADER = re.compile(r"\s*\[([^\[\]]+)\]")
# Behind tool, pytest-isolate, stacks, the name of one and that of its service, nothing is asked for.
_MOST_WORDS = 5


def build_plugin(reader: TomlReader) -> ModuleType:
    """A plugin that holds the fixtures; pytest.UsageError when the file cannot be understood."""
    module = ModuleType("isolate_toml")
    try:
        vars(module).update(reader.read())
    except DeclarationError as error:
        raise pytest.UsageError(str(error)) from None
    return module


class Environment(NamedTuple):
    """The variables of a file by name, with placeholders; where they stand; and the services that these may name."""

    texts: Mapping[str, str]
    location: Location
    catalogue: Catalogue


def _is_deep(table: object) -> bool:
    level = [table]
    for _ in range(_MOST_LEVELS):
        level = [child for one in level for child in _children(one)]
    return bool(level)


def _children(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


class TomlReader:
    """Reads one file: from its text to fixtures by name."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines = _find_headers(source.text)

    @property
    def may_have_variables(self) -> bool:
        """True where a look at its text, which parses nothing, cannot tell that it has no table `env`."""
        return "env" in self._source.text

    def read(self) -> dict[str, Any]:
        """The fixtures by name; DeclarationError when the file is wrong as a whole."""
        with self._not_too_deep():
            return self._build(self._content)

    def read_variables(self) -> Iterable[str]:
        """The names in the table `env`; none when the file is wrong as a whole, which is told when it is read."""
        try:
            with self._not_too_deep():
                return tuple(self._content["env"])
        except DeclarationError:
            return ()

    def read_environment(self, run_overrides: RunOverrides, exists: Callable[[str], bool]) -> Environment:
        """The table `env`, with what the file declares, checked; DeclarationError for what is wrong."""
        with self._not_too_deep():
            return self._build_environment(self._content, run_overrides, exists)

    def _build_environment(
        self, table: Mapping[str, Any], run_overrides: RunOverrides, exists: Callable[[str], bool]
    ) -> Environment:
        location = self._location("env")
        for name, text in table["env"].items():
            if not name or "=" in name or "\0" in name:
                raise self._wrong("env", f"{name!r} cannot be the name of a variable")
            if not isinstance(text, str) or "\0" in text:
                raise self._wrong(f"env.{name}", f"{text!r} is not a text without zero bytes", 'such as "{db.url}"')
        if not table["env"]:
            return Environment({}, location, Catalogue(services={}, stacks={}, dependencies={}))
        raws = {name: getattr(fixture, DECLARATION) for name, fixture in self._build(table).items()}
        declared = [Declared(name=name, namespace="", raw=raw) for name, raw in raws.items()]
        return Environment(table["env"], location, load(declared, exists=exists, run_overrides=run_overrides))

    @contextmanager
    def _not_too_deep(self) -> Iterator[None]:
        """DeclarationError where the block meets tables or lists that no program of ours can follow."""
        try:
            yield
        except RecursionError:
            raise self._wrong("", TOO_DEEP) from None

    @functools.cached_property
    def _content(self) -> Mapping[str, Any]:
        """The tables of the file by name, also those that it does not have."""
        try:
            table: Any = tomllib.loads(self._source.text)
        except tomllib.TOMLDecodeError as error:
            raise self._wrong("", f"cannot be read as TOML: {error}") from None
        if _is_deep(table):
            raise RecursionError
        for key in self._source.tables:
            table = self._table(key, table.get(key, {}))
        for key in table:
            if key not in _KEYS:
                raise self._wrong(key, f"unknown key {key!r}{suggest(key, _KEYS)}", ", ".join(_KEYS))
        return {key: self._table(key, table.get(key, {})) for key in _KEYS}

    def _build(self, table: Mapping[str, Any]) -> dict[str, Any]:
        services: dict[str, RawService] = {}
        for name in table["services"]:
            self._service(name, table["services"], services, ())
        for name in _told_passwords(table["env"]) & services.keys():
            # A snapshot has a password of its own, which is known when the service starts.
            services[name] = services[name].changed({"snapshot": None}, services[name].location)
        stacks = {name: self._stack(name, content, services) for name, content in table["stacks"].items()}
        for name in stacks.keys() & services.keys():
            raise self._wrong(f"stacks.{name}", f"{name!r} is the name of a service too")
        composed: dict[str, Raw] = {}
        for name, content in table["compose"].items():
            self._compose(name, content, composed)
        for name in composed.keys() & (services.keys() | stacks.keys()):
            raise self._wrong(f"compose.{name}", f"{name!r} is the name of a service or stack too")
        fresh = {name: self._fresh(name, content, services) for name, content in table["fresh"].items()}
        for name in fresh.keys() & (services.keys() | stacks.keys() | composed.keys()):
            raise self._wrong(f"fresh.{name}", f"{name!r} is the name of a service or stack too")
        declared: dict[str, Raw] = {**services, **stacks, **composed, **fresh}
        if table["variants"]:
            declared["isolate_variants"] = self._variants(table["variants"], services)
        return {name: make_fixture(raw) for name, raw in declared.items()}

    def _service(
        self, name: str, tables: Mapping[str, Any], done: dict[str, RawService], asking: tuple[str, ...]
    ) -> RawService:
        if name in done:
            return done[name]
        values = dict(self._table(f"services.{name}", tables[name]))
        base = values.pop("use", None)
        location = self._location(f"services.{name}")
        own = Layer(values=values, location=location)
        if base is None:
            done[name] = RawService(layers=(own,))
        elif isinstance(base, str) and base in PRESETS:
            done[name] = RawService(layers=(*PRESETS[base]().layers, own))
        elif isinstance(base, str) and base in tables and base not in (*asking, name):
            based_on = self._service(base, tables, done, (*asking, name))
            done[name] = based_on.changed(values, location)
        else:
            bad_base = _unknown_base(base, (n for n in tables if n != name))
            done[name] = RawService(layers=(own,), bad_base=bad_base)
        return done[name]

    def _stack(self, name: str, content: object, services: Mapping[str, RawService]) -> RawStack:
        """Every service of the file, with the differences that the stack's table names."""
        key = f"stacks.{name}"
        location = self._location(key)
        table = self._table(key, content)
        for member in table:
            if member not in services and member not in STACK_KEYS:
                names = [*services, *STACK_KEYS]
                raise self._wrong(key, f"unknown service {member!r}{suggest(member, names)}", ", ".join(names))
        whole_stack = dict.fromkeys(LASTING_KEYS)
        members = {
            member: raw.changed({**whole_stack, **self._table(f"{key}.{member}", table.get(member, {}))}, location)
            for member, raw in services.items()
        }
        options = {option: table[option] for option in STACK_KEYS if option in table}
        return RawStack(members=members, options=options, location=location)

    def _compose(self, name: str, content: object, done: dict[str, Raw]) -> None:
        """A stack of the services of Compose files, relative to this one, and fixtures for single ones of them."""
        key = f"compose.{name}"
        location = self._location(key)
        options = dict(self._table(key, content))
        files, fixtures = options.pop("files", ()), options.pop("fixtures", [])
        if not isinstance(fixtures, list) or not all(isinstance(one, str) for one in fixtures):
            raise self._wrong(key, f"{fixtures!r} in fixtures is not a list of services", 'such as ["web", "db"]')
        raw = RawCompose(files=files, options=options, location=location)
        found: dict[str, Raw] = {name: raw, **{member_name(one): RawMember(raw, one, location) for one in fixtures}}
        for taken in found.keys() & done.keys():
            raise self._wrong(key, f"{taken!r} is the name of another fixture of Compose files too")
        done |= found

    def _variants(self, table: Mapping[str, Any], services: Mapping[str, RawService]) -> RawVariants:
        location = self._location("variants")
        alternatives: dict[str, object] = {}
        for name, written in table.items():
            if name == "mode":
                continue
            key = f"variants.{name}"
            if isinstance(written, Mapping):
                alternatives[name] = {word: self._alternative(key, one, services) for word, one in written.items()}
            elif isinstance(written, list):
                alternatives[name] = [self._alternative(key, one, services) for one in written]
            else:
                alternatives[name] = written
        return RawVariants(services=alternatives, mode=table.get("mode", "product"), location=location)

    def _alternative(self, key: str, written: object, services: Mapping[str, RawService]) -> object:
        """The service of that name, what a table is based on with its changes; an image or a table as it is."""
        if isinstance(written, str):
            return services.get(written, written)
        if not (isinstance(written, Mapping) and "use" in written):
            return written
        location = self._location("variants")
        changes = {name: value for name, value in written.items() if name != "use"}
        base = written["use"]
        if isinstance(base, str) and base in PRESETS:
            own = Layer(values=changes, location=location)
            return Preset(name=base, layers=(*PRESETS[base]().layers, own))
        if isinstance(base, str) and base in services:
            return services[base].changed(changes, location)
        raise self._wrong(key, *_unknown_base(base, services))

    def _fresh(self, name: str, content: object, services: Mapping[str, RawService]) -> RawFresh:
        """Fresh copies of a service of the file, or of a preset that has no other user."""
        key = f"fresh.{name}"
        location = self._location(key)
        options = dict(self._table(key, content))
        base = options.pop("base", None)
        if isinstance(base, str) and base in services:
            return RawFresh(base=services[base], options=options, location=location)
        if isinstance(base, str) and base in PRESETS:
            return RawFresh(base=RawService(layers=PRESETS[base]().layers), options=options, location=location)
        names = [*services, *PRESETS]
        reason = "needs a base" if base is None else f"unknown service or preset {base!r} in base{suggest(base, names)}"
        raise self._wrong(key, reason, ", ".join(names))

    def _table(self, key: str, value: object) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._wrong(key, f"{value!r} is not a table")
        return value

    def _wrong(self, key: str, reason: str, valid: str = "") -> DeclarationError:
        location = self._location(key)
        return DeclarationError([Problem(place=str(location), subject=key or "file", reason=reason, valid=valid)])

    def _location(self, key: str) -> Location:
        """The line of the table's header, as far as it has one."""
        line = self._lines.get(".".join((*self._source.tables, key)), 0)
        return Location(file=str(self._source.path), line=line)


def _find_headers(text: str) -> dict[str, int]:
    """The first line of each table that a header names, and of those around it."""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        words = [word.strip() for word in header[1].split(".", _MOST_WORDS)] if header else []
        for count in range(1, len(words) + 1):
            lines.setdefault(".".join(words[:count]), number)
    return lines


def _unknown_base(base: object, services: Iterable[str]) -> tuple[str, str]:
    """Why nothing can be based on it, and the names that could stand there."""
    names = [*PRESETS, *services]
    return f"unknown preset or service {base!r} in use{suggest(base, names)}", ", ".join(names)


def _told_passwords(texts: Mapping[str, Any]) -> set[str]:
    references = (found for text in texts.values() if isinstance(text, str) for found in parse_references(text))
    return {reference.service for reference in references if reference.attribute in ("password", "url")}
