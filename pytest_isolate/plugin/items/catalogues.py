"""Catalogues of tests: the declared services with a test's variant and overrides, from pytest's side."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable

import pytest

from pytest_isolate.declarations.loading import Catalogue, load, raise_all, read
from pytest_isolate.declarations.references import is_within
from pytest_isolate.errors import Problem
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.overrides import name_test, resolve_overrides
from pytest_isolate.planning.per_test import catalogue_with
from pytest_isolate.planning.variant_rows import Row, choose_row, expand, picked_unasked, visible_rows
from pytest_isolate.plugin.declaring.fixtures import (
    all_declared,
    asked_fixtures,
    builtin_fixture_names,
    overrides_of,
    run_for_each,
    variant_of,
)
from pytest_isolate.plugin.options import parse_variants
from pytest_isolate.plugin.service_options import run_overrides

_Key = tuple[object, ...]


class ItemCatalogues:
    """The declared services as each test has them. A catalogue that several tests share is built once."""

    def __init__(self, catalogue: Catalogue, exists: Callable[[str], bool]) -> None:
        self.declared = catalogue
        self._exists = exists
        self._rows: dict[str, tuple[Row, ...]] = {}
        self._made: dict[_Key, tuple[Catalogue, tuple[Problem, ...]]] = {}

    def check(self, items: Iterable[pytest.Item]) -> None:
        """DeclarationError for what is wrong with alternatives, also unselected ones, and with overrides of tests."""
        nodes = {group.namespace for group in self.declared.groups}
        problems = [p for node in nodes for row in visible_rows(self.declared.groups, node) for p in self._try(row)]
        # Mistakes in the marker of a class or module are told with the first of its tests.
        known = set(problems)
        for item in items:
            new = [p for p in self._catalogue(item, self.row_of(item))[1] if p not in known]
            problems += name_test(new, item.nodeid)
            known |= set(new)
        raise_all(problems)

    def of(self, item: pytest.Item) -> Catalogue:
        """The catalogue as a test has it."""
        return self._catalogue(item, self.row_of(item))[0]

    def row_of(self, item: pytest.Item) -> Row:
        """The alternatives that a test has, of every service that is varied where it stands."""
        return choose_row(self._rows_at(item), variant_of(item))

    def picked_unasked(self, services: Collection[ServiceId], item: pytest.Item) -> str:
        """The alternatives of services that a test has although it is not run for each; empty for most tests."""
        return str(picked_unasked(self._rows_at(item), variant_of(item), services, self.of(item)))

    def names_of(self, name: str, namespace: str, item: pytest.Item) -> dict[str, str]:
        """The value of a fixture that variants() has made: which alternatives a test has, by service."""
        row = self.row_of(item)
        groups = (g for g in self.declared.groups if (g.name, g.namespace) == (name, namespace))
        return {axis.service.name: row[axis.service][0].name for group in groups for axis in group.axes}

    def variants_of(self, definition: pytest.Item) -> tuple[object, ...]:
        """The variants that a test function is run for."""
        rows = self._rows_at(definition)
        if not any(rows):
            return ()
        fixtures = asked_fixtures(definition)
        services = [s for name, namespace in fixtures for s in members(self.declared, name, namespace)]
        return expand(rows, services, lambda row: self._catalogue(definition, row)[0])

    def _rows_at(self, item: pytest.Item) -> tuple[Row, ...]:
        place = item.parent.nodeid if item.parent else item.nodeid
        if place not in self._rows:
            self._rows[place] = visible_rows(self.declared.groups, place)
        return self._rows[place]

    def _catalogue(self, item: pytest.Item, row: Row) -> tuple[Catalogue, tuple[Problem, ...]]:
        markers = overrides_of(item)
        if not (row or markers):
            return self.declared, ()
        # The same name may mean another service elsewhere; what markers hold may not be hashable.
        key = (_identify(row), (item.parent, repr(markers)) if markers else ())
        if key not in self._made:
            problems: list[Problem] = []
            overrides = resolve_overrides(markers, self.declared, item.nodeid, problems)
            self._made[key] = catalogue_with(self.declared, row, overrides, problems, self._exists), tuple(problems)
        return self._made[key]

    def _try(self, row: Row) -> list[Problem]:
        problems: list[Problem] = []
        self._made[(_identify(row), ())] = catalogue_with(self.declared, row, {}, problems, self._exists), ()
        return problems


def load_catalogue(session: pytest.Session) -> Catalogue:
    """All that is declared in what pytest has collected; DeclarationError tells everything that is wrong."""
    return load(
        all_declared(session),
        reserved=builtin_fixture_names(session),
        exists=os.path.exists,
        chosen=parse_variants(session.config),
        run_overrides=run_overrides(session.config),
    )


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test function once for each variant of what it reaches. What is wrong is told when all is collected."""
    try:
        variants = _catalogues_at(metafunc).variants_of(metafunc.definition)
    except RecursionError:
        return
    if variants:
        run_for_each(metafunc, variants)


def _catalogues_at(metafunc: pytest.Metafunc) -> ItemCatalogues:
    """The catalogues at a module, as far as its declarations can be read; modules that see the same share them."""
    definition, known = metafunc.definition, metafunc.config.stash.setdefault(_CATALOGUES, {})
    module = definition.getparent(pytest.Module)
    if module not in known:
        place = definition.nodeid.partition("::")[0]
        declared = [d for d in all_declared(definition.session) if is_within(place, d.namespace)]
        key = tuple((d.namespace, d.name, id(d.raw)) for d in declared)
        if key not in known:
            chosen, overrides = parse_variants(metafunc.config), run_overrides(metafunc.config)
            catalogue = read(declared, [], exists=_anything, chosen=chosen, run_overrides=overrides)
            known[key] = ItemCatalogues(catalogue, _anything)
        known[module] = known[key]
    return known[module]


def _anything(_: str) -> bool:
    """Accept a missing file: it is reported when all is collected."""
    return True


_CATALOGUES: pytest.StashKey[dict[object, ItemCatalogues]] = pytest.StashKey()


def members(catalogue: Catalogue, name: str, namespace: str) -> list[ServiceId]:
    """The service of that name or of a stack, or the base of those copies, or a stack's services; none for variants."""
    own = ServiceId(StackId(namespace), name)
    fresh = catalogue.fresh.get(own)
    if fresh:
        return [fresh.base]
    if own in catalogue.members:
        return [catalogue.members[own]]
    if any((group.name, group.namespace) == (name, namespace) for group in catalogue.groups):
        return []
    stack = catalogue.stacks.get(StackId(namespace, name))
    if stack is None:
        return [own]
    return [ServiceId(StackId(namespace, name), member.name) for member in stack.services]


def _identify(row: Row) -> _Key:
    return tuple((service, alternative.name, origin) for service, (alternative, origin) in row.items())
