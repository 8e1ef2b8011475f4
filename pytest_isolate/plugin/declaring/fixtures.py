"""pytest's fixtures and tests, as declarations, demands and values.

The only module that reads pytest's fixture tables, which have no public interface; see docs/decisions.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from pytest_isolate.model.declaration import Declared, Raw, RawOverride
    from pytest_isolate.model.location import Location
    from pytest_isolate.planning.placement import ItemPosition

DECLARATION = "isolate_declaration"
MARKER = "isolate"
VARIANT = "isolate_variant"
_BY_NAME = "getfixturevalue"
TOO_DEEP = "tables or lists are nested too deeply in a declaration: a few levels are all that any key has"
NEEDS_ISOLATE = "needs services in containers: run pytest --isolate"
_NOT_LOADED = (
    "needs services in containers, and pytest-isolate is not loaded: it is turned off by -p no:isolate, or by "
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD without -p isolate"
)


class FixtureProvider(Protocol):
    """A run with --isolate, as fixtures see it."""

    @property
    def has_engine(self) -> bool:
        """True once it has needed an engine."""

    def handle(self, name: str, namespace: str) -> object:
        """The value of the fixture of this name that is declared there, once it is ready."""


# Where `db` is a service, pytest-django's `client` and `admin_user` would be given no database.
_TAKEN = ("_pytest.", "pytest_django.")
SESSION_KEY: pytest.StashKey[FixtureProvider] = pytest.StashKey()
_SEEN_KEY: pytest.StashKey[dict[object, bool]] = pytest.StashKey()


def handle(request: pytest.FixtureRequest) -> object:
    """The value of a service's or stack's fixture: waits until it is ready, and fails or skips the test otherwise."""
    __tracebackhide__ = True
    if not isinstance(request, pytest.FixtureRequest):
        pytest.fail("service() and stack() are declared in a module or conftest.py, not in a class", pytrace=False)
    session = request.config.stash.get(SESSION_KEY, None)
    if session is None:
        pytest.skip(NEEDS_ISOLATE if request.config.pluginmanager.has_plugin("isolate") else _NOT_LOADED)
    fixturedef: Any = request._fixturedef  # type: ignore[attr-defined]  # the base id has no public accessor
    return session.handle(fixturedef.argname, fixturedef.baseid)


def needs_service(item: pytest.Item) -> bool:
    """True if a test uses a service, directly or through other fixtures."""
    return next(_asked(item), None) is not None


def may_need_services(session: pytest.Session) -> bool:
    """True if a selected test uses a service, or may ask for one while it runs."""
    items = session.items
    if any(map(needs_service, items)):
        return True
    return any(map(_may_ask_later, items)) and any(hasattr(d.func, DECLARATION) for d in _all_definitions(session))


def _may_ask_later(item: pytest.Item) -> bool:
    """True if it can call `request.getfixturevalue()`; doctests have `getfixture()`."""
    return not isinstance(item, pytest.Function) or "request" in item.fixturenames


def asks_while_it_runs(item: pytest.Item) -> bool:
    """True if a test seems to ask for fixtures by name, itself or in a fixture of the project, while it runs."""
    if not isinstance(item, pytest.Function):
        return any("getfixture(" in one.source for one in getattr(getattr(item, "dtest", None), "examples", ()))
    info: Any = getattr(item, "_fixtureinfo", None)
    used = [d.func for name in info.names_closure for d in info.name2fixturedefs.get(name, ())] if info else []
    root = f"{item.config.rootpath}{os.sep}"
    return any(_asks_by_name(function, root) for function in (item.function, *used))


def _asks_by_name(function: Any, root: str) -> bool:
    if hasattr(function, DECLARATION):
        return False
    code = getattr(inspect.unwrap(function), "__code__", None)
    # What other plugins ask for is theirs.
    if code is None or not code.co_filename.startswith(root) or "site-packages" in code.co_filename:
        return False
    if "request" not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        return False
    # A function that takes a request, and does nothing else that one is good for, hands it on to one that asks.
    names, others = set(_names_in(code)), {"param", *dir(pytest.FixtureRequest)} - {_BY_NAME}
    return _BY_NAME in names or not names & others


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names_in(inner)


def asked_fixtures(item: pytest.Item) -> list[tuple[str, str]]:
    """Name and base id of each service or stack that a test uses, in the order in which pytest sets them up."""
    return [(definition.argname, definition.baseid) for definition in _asked(item)]


def used_fixtures(item: pytest.Item) -> list[tuple[str, str]]:
    """Add to these what it asked for while it ran: `request.getfixturevalue()`, in the test or in a fixture."""
    request: Any = getattr(item, "_request", None)
    definitions = getattr(request, "_fixture_defs", {}).values() if request else ()
    later = [(d.argname, d.baseid) for d in definitions if hasattr(d.func, DECLARATION)]
    return list(dict.fromkeys([*asked_fixtures(item), *later]))


def _asked(item: pytest.Item) -> Iterator[Any]:
    info = getattr(item, "_fixtureinfo", None)
    if info is None:
        return
    for name in info.names_closure:
        # The nearest one counts; one that overrides another is followed only while it asks for what it overrides.
        for definition in reversed(info.name2fixturedefs.get(name, ())):
            if hasattr(definition.func, DECLARATION):
                yield definition
                break
            if name not in definition.argnames:
                break


def all_declared(session: pytest.Session) -> list[Declared]:
    """Everything that is declared in what pytest has collected."""
    from pytest_isolate.model.declaration import Declared

    return [
        Declared(name=d.argname, namespace=d.baseid, raw=_composed(getattr(d.func, DECLARATION), session.config))
        for d in _all_definitions(session)
        if hasattr(d.func, DECLARATION)
    ]


def _composed(raw: Raw, config: pytest.Config) -> Raw:
    """The declaration, with the stack that they declare in place of Compose files."""
    from pytest_isolate.model.declaration import RawCompose, RawMember

    if isinstance(raw, RawMember) and isinstance(raw.stack, RawCompose):
        return raw._replace(stack=_composed(raw.stack, config))
    if not isinstance(raw, RawCompose):
        return raw
    from pytest_isolate.plugin.declaring.compose import read_compose  # only where there are such files

    return read_compose(raw, config)


def builtin_fixture_names(session: pytest.Session) -> frozenset[str]:
    """The names of fixtures that others ask for, pytest's own and pytest-django's: a service must not take them."""
    own = {d.argname for d in _all_definitions(session) if d.func.__module__.startswith(_TAKEN)}
    return frozenset(own | {"request"})


def _all_definitions(session: pytest.Session) -> Iterable[Any]:
    """Every fixture; among those of one name for the same tests, the one that counts comes last."""
    manager: Any = session._fixturemanager
    for name in ("_arg2fixturedefs", "_arg2node2fixturedefs", "_arg2nodeid2fixturedefs"):
        for definitions in getattr(manager, name, {}).values():
            # Up to pytest 9.0 a list; from 9.1 on a table by node, with lists in the opposite order.
            if hasattr(definitions, "values"):
                for group in definitions.values():
                    yield from reversed(group)
            else:
                yield from definitions


def sees_variants(item: pytest.Item) -> bool:
    """True if variants() is declared anywhere in what pytest has met when it comes to a test's module."""
    seen = item.config.stash.setdefault(_SEEN_KEY, {})
    module = item.getparent(pytest.Module)
    if module not in seen:
        from pytest_isolate.model.declaration import RawVariants

        declared = (getattr(definition.func, DECLARATION, None) for definition in _all_definitions(item.session))
        seen[module] = any(isinstance(raw, RawVariants) for raw in declared)
    return seen[module]


def forget_values_by(session: pytest.Session, key_of: Callable[[str, str], Hashable]) -> None:
    """Have pytest make the value of a service's fixture anew, and of all that ask for it, when its key has changed.

    The key of what is declared under a name and base id: for pytest the fixture is then as if it had that parameter.
    """
    # Up to pytest 8.2 keys are compared by identity.
    known: dict[Hashable, Hashable] = {}
    for definition in _all_definitions(session):
        if hasattr(definition.func, DECLARATION):
            look_up = functools.partial(key_of, definition.argname, definition.baseid)
            definition.cache_key = functools.partial(_cache_key, look_up, known)


def _cache_key(look_up: Callable[[], Hashable], known: dict[Hashable, Hashable], _: object) -> Hashable:
    key = look_up()
    return known.setdefault(key, key)


def overrides_of(item: pytest.Item) -> list[RawOverride]:
    """The changes that the markers of a test make, the nearest last."""
    from pytest_isolate.model.declaration import RawOverride
    from pytest_isolate.model.location import Location

    found = []
    for node, mark in item.iter_markers_with_node(MARKER):
        stray = tuple(arg for arg in mark.args if not isinstance(arg, Location))
        places = (arg for arg in mark.args if isinstance(arg, Location))
        found.append(RawOverride(values=mark.kwargs, stray=stray, location=next(places, None) or _location(node)))
    return found[::-1]


def _location(node: Any) -> Location:
    from pytest_isolate.model.location import Location

    if isinstance(node, (pytest.Function, pytest.Class)):
        path, line, _ = node.reportinfo()
        return Location(file=str(path), line=(line or 0) + 1)
    return Location(file=str(node.path))


def variant_of(item: pytest.Item) -> Any:
    """The variant that a test is run for; None where it is run once."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get(VARIANT) if callspec else None


def run_for_each(metafunc: pytest.Metafunc, variants: Sequence[object]) -> None:
    """Collect a test once for each variant."""
    # A parameter needs a name that the test knows; no fixture has it, so pytest takes it out again.
    metafunc.fixturenames.append(VARIANT)
    metafunc.parametrize(VARIANT, variants, ids=[str(v) for v in variants], indirect=True, scope="session")


def position(item: pytest.Item, worker: str) -> ItemPosition:
    """A test's place in the tree."""
    from pytest_isolate.planning.placement import ItemPosition

    test_class, module = item.getparent(pytest.Class), item.getparent(pytest.Module)
    return ItemPosition(
        test=item.nodeid,
        test_class=test_class.nodeid if test_class else item.nodeid,
        module=module.nodeid if module else item.nodeid,
        above=tuple(node.nodeid for node in item.listchain()[:-1]),
        worker=worker,
    )
