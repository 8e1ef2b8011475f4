"""Requirements of tests: the instances that each asks for, in their places."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import pytest

from pytest_isolate.declarations.external_checks import check_used
from pytest_isolate.declarations.loading import Catalogue, load, raise_all
from pytest_isolate.errors import IsolateError
from pytest_isolate.model.scope import Scope
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.placement import Instance, Place, place_instances, places_of
from pytest_isolate.planning.plan import Demand
from pytest_isolate.plugin.declaring.fixtures import (
    all_declared,
    asked_fixtures,
    builtin_fixture_names,
    overrides_of,
    position,
    used_fixtures,
)
from pytest_isolate.plugin.items.catalogues import ItemCatalogues, members
from pytest_isolate.plugin.options import USE, parse_variants
from pytest_isolate.plugin.service_options import run_overrides
from pytest_isolate.running.containers.running import instance_hash

RequestedServices = list[tuple[str, str]]


class ItemRequirements:
    """The declared services, and those that each test of this process asks for. Empty until loaded."""

    def __init__(self, config: pytest.Config, worker: str) -> None:
        self._config = config
        self._worker = worker
        self.catalogue = Catalogue(services={}, stacks={}, dependencies={})
        self.catalogues = ItemCatalogues(self.catalogue, os.path.exists)

    def load(self, session: pytest.Session) -> None:
        """Read and check all that is declared; DeclarationError tells everything that is wrong."""
        self.catalogue = load(
            all_declared(session),
            reserved=builtin_fixture_names(session),
            exists=os.path.exists,
            chosen=parse_variants(self._config),
            run_overrides=run_overrides(self._config),
        )
        raise_all(check_used(self.catalogue, strict=(USE.flag,)))
        self.catalogues = ItemCatalogues(self.catalogue, os.path.exists)
        self.catalogues.check(session.items)

    def differ(self, items: Iterable[pytest.Item]) -> bool:
        """True if a fixture may have another value for the next test: by variant, override, or a new instance."""
        is_reset = any(spec.reset for spec in self.catalogue.services.values())
        return is_reset or bool(self.catalogue.groups) or any(overrides_of(item) for item in items)

    def of(self, item: pytest.Item, fixtures: Callable[[pytest.Item], RequestedServices] = asked_fixtures) -> Demand:
        """The demand of a test, through these fixtures of it."""
        services: dict[ServiceId, None] = {}
        asked = fixtures(item)
        for name, namespace in asked:
            services |= dict.fromkeys(members(self.catalogue, name, namespace))
        named = (ServiceId(StackId(namespace), name) for name, namespace in asked)
        fresh = tuple(service for service in named if service in self.catalogue.fresh)
        catalogue = self.catalogues.of(item)
        where = position(item, self._worker)
        return Demand(where=where, services=tuple(services), catalogue=catalogue, fresh=fresh)

    def place(
        self, item: pytest.Item, fixtures: Callable[[pytest.Item], RequestedServices] = asked_fixtures
    ) -> tuple[Instance, ...]:
        """The instances that a test asks for."""
        demand = self.of(item, fixtures)
        return place_instances(demand.services, demand.catalogue or self.catalogue, demand.where)

    def places_that_end(self, item: pytest.Item, nextitem: pytest.Item | None) -> frozenset[Place]:
        """The places that a test is the last one of; not the run, which is kept or goes as a whole."""
        namespaces = {service.stack.namespace for service in self.catalogue.services}
        before, after = (
            places_of(position(i, self._worker), namespaces) if i else frozenset() for i in (item, nextitem)
        )
        return frozenset(place for place in before - after if place.scope is not Scope.SESSION)

    def place_services(self, services: Iterable[ServiceId], item: pytest.Item) -> tuple[Instance, ...]:
        """The instances of these services that a test has."""
        return place_instances(services, self.catalogues.of(item), position(item, self._worker))

    def codes_of(self, item: pytest.Item) -> list[str]:
        """The codes of all instances that a test could use, also through what it asks for while it runs."""
        try:
            return [instance_hash(instance.key) for instance in self.place(item, used_fixtures)]
        except IsolateError:
            return []  # the test is told
