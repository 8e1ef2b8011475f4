"""The values of services' fixtures for the test that runs now: each is waited for when the test asks for it."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from pytest_isolate.errors import IsolateError
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.placement import Instance
from pytest_isolate.planning.plan import CopyDemand, place_of_copy
from pytest_isolate.planning.reset_order import check_resets
from pytest_isolate.plugin.declaring.fixtures import position
from pytest_isolate.plugin.items.catalogues import members
from pytest_isolate.plugin.items.failures import as_failure
from pytest_isolate.plugin.items.requirements import ItemRequirements
from pytest_isolate.plugin.items.resets import Resets
from pytest_isolate.plugin.run.process import RunProcess
from pytest_isolate.running.containers.handle import Service, Stack
from pytest_isolate.running.data.fresh_service import FreshService


class FixtureValues:
    """Hands out services, stacks and fresh copies."""

    def __init__(self, process: RunProcess, requirements: ItemRequirements, resets: Resets) -> None:
        self._process = process
        self._requirements = requirements
        self._resets = resets
        self._item: pytest.Item | None = None

    def begin(self, item: pytest.Item) -> None:
        """Serve this test from here on."""
        self._item = item

    @property
    def item(self) -> pytest.Item:
        """The test that runs now."""
        assert self._item is not None
        return self._item

    def key_of(self, name: str, namespace: str) -> Hashable:
        """The variant, overrides and instance that a fixture's value is made for: with others it is made anew.

        pytest asks for it whenever a test asks for the fixture, so this is also where it is known what a test uses.
        """
        catalogue = self._requirements.catalogues.of(self.item)
        services = members(catalogue, name, namespace)
        if ServiceId(StackId(namespace), name) not in catalogue.fresh:
            self._resets.note(services)
        changes = tuple(map(catalogue.variation, services))
        names = tuple(self._requirements.catalogues.names_of(name, namespace, self.item).items())
        return changes or names, self._resets.replacements(services)

    def handle(self, name: str, namespace: str) -> object:
        """The value of a fixture: the handle of a service, or a stack of them, once all are ready."""
        __tracebackhide__ = True
        try:
            return self._handle(name, namespace)
        except IsolateError as error:
            # Its causes are told in its text; as a chain they would all be printed again.
            raise as_failure(error) from None

    def _handle(self, name: str, namespace: str) -> object:
        catalogue, own = self._requirements.catalogue, ServiceId(StackId(namespace), name)
        services = members(catalogue, name, namespace)
        if not services:
            return self._requirements.catalogues.names_of(name, namespace, self.item)
        placed = self._requirements.place_services(services, self.item)
        check_resets(placed, self._process.workers)
        with self._process.display.waiting():
            if placed:
                self._process.open(placed).lifecycle.start(placed)
            self._process.report.note_served((i.key.service for i in placed), self.item.nodeid)
            instances = {i.key.service: i for i in placed}
            lifecycle = self._process.open().lifecycle
            handles = {service.name: lifecycle.handle(instances[service].key) for service in services}
            first = handles[services[0].name]
            if own in catalogue.fresh:
                return self._handle_copy(own, instances[services[0]], first)
        return Stack(name, handles) if StackId(namespace, name) in catalogue.stacks else first

    def _handle_copy(self, fresh_id: ServiceId, instance: Instance, base: Service) -> FreshService:
        wired, spec = self._process.open(), self._requirements.catalogue.fresh[fresh_id]
        where = position(self.item, self._process.worker)
        demand = CopyDemand(fresh_id=fresh_id, spec=spec, count=1)
        place = place_of_copy(spec, fresh_id, where)
        with self._process.timeline.measure("copy", str(fresh_id)):
            return wired.fresh_copies.handle(demand, place, wired.lifecycle.wait(instance.key), base, where.test)
