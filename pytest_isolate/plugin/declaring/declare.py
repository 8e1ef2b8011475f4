"""service(), stack() and variants(): declarations that are pytest fixtures. Nothing is checked here."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.model.declaration import (
    MODULE,
    Layer,
    Preset,
    Raw,
    RawCompose,
    RawFresh,
    RawMember,
    RawService,
    RawStack,
    RawVariants,
    in_words,
)
from pytest_isolate.model.location import Location, caller_location
from pytest_isolate.plugin.declaring.fixtures import DECLARATION, TOO_DEEP, handle

# In words: the enumeration of them takes half a millisecond to import, in every run.
_SCOPES = ("function", "class", "module", "package", "session")
_STACK_OPTIONS = ("ports", "scope", "share")


def service(base: object = None, /, **changes: object) -> Any:
    """A fixture whose value is a running `Service`, alone in its container.

    `base` is a preset such as `postgres("16")`, an image's name, or another service, which is then copied with changes;
    or a container of testcontainers such as `PostgresContainer("postgres:16")`, or a function that makes one.
    docs/declaring.md lists every key. What is wrong is reported at the start of the run, all at once.
    """
    return make_fixture(build_raw(base, changes, caller_location(1)))


def stack(**members: object) -> Any:
    """A fixture whose value is a `Stack`: services on one private network that find each other by their plain names.

    `ports="native"` gives the stack a loopback address of its own (Linux), on which every service answers at its own
    port; `scope` and `share` hold for all its services.
    """
    location = caller_location(1)
    options = {key: members.pop(key) for key in _STACK_OPTIONS if key in members}
    raw = {name: _as_raw(member, location) for name, member in members.items()}
    return make_fixture(RawStack(members=raw, options=options, location=location))


def compose(*files: object, **options: object) -> Any:
    """A fixture whose value is a `Stack` of the services of Compose files, of which a later one changes the earlier.

    Paths are relative to the declaring file. `env=` sets variables over those of the environment and of `.env`,
    `profiles=` and `services=` choose, `changes=` has changes by service with the keys of service(),
    `unsupported="warn"` goes on without what cannot be honoured; `ports`, `scope` and `share` are those of stack().
    docs/compose.md says the rest.
    """
    return make_fixture(RawCompose(files=files, options=options, location=caller_location(1)))


def member(stack: object, name: str, /) -> Any:
    """A fixture whose value is one `Service` of a stack, which stack() or compose() has made.

    A test that asks for it waits for this service and what it needs; the others of the stack start for those who ask
    for them. It is the same service as the stack's own attribute.
    """
    return make_fixture(RawMember(getattr(stack, DECLARATION, stack), name, caller_location(1)))


def variants(*, mode: str = "product", **services: object) -> Any:
    """A fixture that has the tests which reach these services run once for each of their alternatives.

    `versions = variants(db=[postgres("15"), postgres("16")])` in a conftest.py or test module, for the tests at or
    below it. An alternative is a preset, an image's name, a table of changes, or another service; a table gives them
    names: `db={"old": ..., "new": ...}`. The mode says how those of several services are combined: "product" or "zip".
    The fixture's value is a table with the name of the alternative that the test has of each service.
    """
    location = caller_location(1)
    alternatives = {name: _as_written(written, location) for name, written in services.items()}
    return make_fixture(RawVariants(services=alternatives, mode=mode, location=location))


def _as_written(written: object, location: Location) -> object:
    """Alternatives with the declarations behind fixtures in place of these; anything else as it is."""
    if isinstance(written, Mapping):
        return {name: _behind(one, location) for name, one in written.items()}
    return [_behind(one, location) for one in written] if isinstance(written, (list, tuple)) else written


def fresh(base: object, /, **options: object) -> Any:
    """A fixture whose value is a `FreshService`: for each test its own clean copy of a shared service's data.

    `base` is a service's fixture, a preset or an image's name. `init=` makes the first state: a file of SQL or a folder
    of such files, `command(...)`, or a function that is given the handle of the database that is being prepared. It
    runs once for each content (or `key=`), whichever worker comes first. `scope=` is pytest's, "function" by default.
    """
    location = caller_location(1)
    raw = build_raw(base, {}, location) if isinstance(base, str) else _as_raw(base, location)
    return make_fixture(RawFresh(base=raw, options=options, location=location))


def build_raw(base: object, changes: Mapping[str, object], location: Location) -> RawService:
    """A base and what is changed about it."""
    own = Layer(values=changes, location=location)
    if base is None:
        return RawService(layers=(own,))
    if isinstance(base, str):
        return RawService(layers=(Layer(values={"image": base}, location=location), own))
    raw = _as_raw(base, location)
    if isinstance(raw, RawService):
        return RawService(layers=(*raw.layers, own), bad_base=raw.bad_base)
    valid = "a preset such as postgres('16'), an image's name, another service, or a container of testcontainers"
    return RawService(layers=(own,), bad_base=(f"{in_words(base)} cannot be the base of a service", valid))


def _as_raw(value: object, location: Location) -> object:
    """The raw declaration behind a fixture or a preset; anything else as it is, for the loader to refuse."""
    found = _behind(value, location)
    if isinstance(found, Preset):
        return RawService(layers=(*found.layers, Layer(values={}, location=location)))
    return found


def _behind(value: object, location: Location) -> object:
    """The declaration behind a fixture, and a module of testcontainers as a preset; anything else as it is."""
    if hasattr(value, DECLARATION):
        return getattr(value, DECLARATION)
    if not (_is_container(value) or isinstance(value, (type, functools.partial)) or inspect.isroutine(value)):
        return value
    from pytest_isolate.running.testcontainers.declared import DeclaredModule  # only where a project has one

    module = DeclaredModule(value)
    return Preset(name=module.name, layers=(Layer(values={MODULE: module}, location=location),))


def _is_container(value: object) -> bool:
    """True for a container of testcontainers. Where there is one, the library is imported already."""
    core = sys.modules.get("testcontainers.core.container")
    return core is not None and isinstance(value, core.DockerContainer)


def make_fixture(raw: Raw) -> Any:
    """The fixture that hands out what is declared."""

    def isolated(request: pytest.FixtureRequest) -> object:
        return handle(request)

    setattr(isolated, DECLARATION, raw)
    try:
        isolated.__doc__ = describe(raw)
    except RecursionError:
        isolated.__doc__ = TOO_DEEP  # which ends a run that wants services
    _stand_at(raw.location, isolated)
    decorate: Callable[[Any], Any] = pytest.fixture(scope=_scope_word(raw))
    return decorate(isolated)


def _stand_at(location: Location, function: Any) -> None:
    """Have pytest list a fixture under the file and line that declare it: there users look for it.

    pytest compares two of one name, from folders whose names are equally long, by that place and then not at all.
    """
    function.__code__ = function.__code__.replace(co_filename=location.file, co_firstlineno=location.line or 1)
    function.__module__ = Path(location.file).stem


def describe(raw: Raw) -> str:
    """One line for `pytest --fixtures`."""
    if isinstance(raw, RawVariants):
        return f"Alternatives of {', '.join(raw.services)} (declared at {raw.location})."
    if isinstance(raw, RawFresh):
        return f"Fresh copy of a shared service's data (declared at {raw.location})."
    if isinstance(raw, RawCompose):
        files = ", ".join(map(str, raw.files)) if isinstance(raw.files, (list, tuple)) else str(raw.files)
        return f"Stack of the services of {files} (declared at {raw.location})."
    if isinstance(raw, RawMember):
        return f"Service {raw.name!r} of a stack (declared at {raw.location})."
    if isinstance(raw, RawStack):
        return f"Stack of {', '.join(raw.members)}, each in a container (declared at {raw.location})."
    return f"Service in a container: {_what_runs(raw)} (declared at {raw.location})."


def _what_runs(raw: RawService) -> str:
    """Image and ports as they are written, as far as they are: nothing is checked here."""
    tables = [layer.values for layer in reversed(raw.layers)]
    if MODULE in tables[-1]:
        return str(tables[-1][MODULE])
    table = next((t for t in tables if t.get("image") or t.get("build")), {})
    what = str(table.get("image") or (f"built from {table['build']}" if table else "no image"))
    written = next(([t.get("port"), t.get("ports")] for t in tables if t.get("port") or t.get("ports")), [])
    ports = dict.fromkeys(str(p) for entry in written for p in (entry if isinstance(entry, list) else [entry]) if p)
    return ", ".join([what, f"port{'s' if len(ports) > 1 else ''} {', '.join(ports)}"] if ports else [what])


def _scope_word(raw: Raw) -> Any:
    """The scope for pytest; one that is none is reported by the loader, so any will do until then."""
    if isinstance(raw, RawVariants):
        return "session"
    if isinstance(raw, RawMember):
        return _scope_word(raw.stack) if isinstance(raw.stack, (RawStack, RawCompose)) else "session"
    tables = [layer.values for layer in reversed(raw.layers)] if isinstance(raw, RawService) else [raw.options]
    default = "function" if isinstance(raw, RawFresh) else "session"
    word = next((table["scope"] for table in tables if "scope" in table), default)
    return word if word in _SCOPES else default
