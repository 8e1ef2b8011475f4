"""The plan of a run: which instances, in which order, for which tests."""

from __future__ import annotations

import functools
import operator
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.model.fresh import FreshSpec
from pytest_isolate.model.resources import Resources
from pytest_isolate.model.service import Scope, ServiceId, ServiceSpec
from pytest_isolate.planning.placement import (
    Instance,
    InstanceKey,
    ItemPosition,
    Place,
    place_instances,
    place_of,
    places_of,
)
from pytest_isolate.text import align, name_some


class CopyDemand(Struct, frozen=True, kw_only=True):
    """Copies of one kind that an instance will be asked for, by all workers together."""

    fresh_id: ServiceId
    spec: FreshSpec
    count: int


def place_of_copy(spec: FreshSpec, fresh_id: ServiceId, where: ItemPosition) -> Place:
    """The place whose end is the end of a copy. Each worker has copies of its own, whatever their scope."""
    lives = ServiceSpec(name=spec.name, location=spec.location, scope=spec.scope, share="worker")
    return place_of(lives, fresh_id, where)


def base_of(spec: FreshSpec, catalogue: Catalogue, where: ItemPosition) -> InstanceKey:
    """The instance that a test at `where` gets a copy of."""
    return place_instances([spec.base], catalogue, where)[-1].key


def count_copies(
    wanted: Iterable[tuple[ItemPosition, Sequence[ServiceId], Catalogue]],
) -> dict[InstanceKey, tuple[CopyDemand, ...]]:
    """Count the copies that each instance will be asked for, with what is declared as each test has it."""
    places: dict[InstanceKey, dict[ServiceId, set[Place]]] = defaultdict(lambda: defaultdict(set))
    specs: dict[ServiceId, FreshSpec] = {}
    for where, kinds, catalogue in wanted:
        for fresh_id in kinds:
            spec = specs[fresh_id] = catalogue.fresh[fresh_id]
            places[base_of(spec, catalogue, where)][fresh_id].add(place_of_copy(spec, fresh_id, where))
    return {
        key: tuple(CopyDemand(fresh_id=i, spec=specs[i], count=len(found)) for i, found in kinds.items())
        for key, kinds in places.items()
    }


class Demand(Struct, frozen=True, kw_only=True):
    """One selected test; the services and fresh copies that it asks for, directly or through other fixtures."""

    where: ItemPosition
    services: tuple[ServiceId, ...]
    catalogue: Catalogue | None = None
    """Declarations as this test has them, where they differ."""
    fresh: tuple[ServiceId, ...] = ()


class Step(Struct, frozen=True, kw_only=True):
    """One instance of the plan, with the number of tests that use it and the first of them."""

    instance: Instance
    tests: int
    first_test: str


class Plan(Struct, frozen=True):
    """Every instance that the selected tests will use, in the order of first need.

    `claims` says, for each place that ends with some tests, how much the widest such place around it may need at once;
    `copies`, which fresh copies of its data an instance will be asked for; `asking`, which tests may ask for more while
    they run.
    """

    steps: tuple[Step, ...] = ()
    claims: Mapping[Place, Resources] = {}
    copies: Mapping[InstanceKey, tuple[CopyDemand, ...]] = {}
    asking: tuple[str, ...] = ()

    @property
    def first_wave(self) -> tuple[Instance, ...]:
        """Instances that live for the whole run, so that they can start at once: the rest starts with its place."""
        return tuple(s.instance for s in self.steps if s.instance.key.place.scope is Scope.SESSION)


def build_plan(demands: Iterable[Demand], catalogue: Catalogue) -> Plan:
    """Place what each test asks for; what several tests share appears once."""
    found: dict[InstanceKey, tuple[Instance, list[ItemPosition]]] = {}
    demands = tuple(demands)
    for demand in demands:
        for instance in place_instances(demand.services, demand.catalogue or catalogue, demand.where):
            found.setdefault(instance.key, (instance, []))[1].append(demand.where)
    steps = tuple(Step(instance=i, tests=len(tests), first_test=tests[0].test) for i, tests in found.values())
    copies = count_copies((d.where, d.fresh, d.catalogue or catalogue) for d in demands if d.fresh)
    return Plan(steps, _build_claims(found.values()), copies)


def _build_claims(uses: Collection[tuple[Instance, Sequence[ItemPosition]]]) -> dict[Place, Resources]:
    """In whatever order tests run, a worker has at most what belongs to the places around one test."""
    size: dict[Place, Resources] = defaultdict(Resources)
    for instance, _ in uses:
        if instance.key.place.node:
            size[instance.key.place] += _resources(instance)
    namespaces = {place.node for place in size if place.scope is Scope.PACKAGE}
    widest: dict[Place, Place] = {}
    peaks: dict[Place, Resources] = defaultdict(Resources)
    for where in {where for _, tests in uses for where in tests}:
        around = [place for place in places_of(where, namespaces) if place in size]
        if around:
            top = max(around, key=lambda place: (place.scope, -len(place.node)))
            widest |= dict.fromkeys(around, top)
            peaks[top] |= sum((size[place] for place in around), Resources())
    return {place: peaks[top] for place, top in widest.items()}


def lasting_demand(plan: Plan, workers: int) -> Resources:
    """Resources of what lives for the whole run, in all workers together."""
    total = Resources()
    for step in plan.steps:
        place = step.instance.key.place
        if not place.node:
            # A worker that is given no test of a service's does not start it.
            for _ in range(min(workers, step.tests) if place.worker else 1):
                total += _resources(step.instance)
    return total


def peak_demand(plan: Plan, workers: int) -> Resources:
    """Resources needed at once: of what lives for the whole run, and of one worker's greatest claim."""
    return lasting_demand(plan, workers) + functools.reduce(operator.or_, plan.claims.values(), Resources())


def _resources(instance: Instance) -> Resources:
    if instance.spec.external:
        return Resources()
    return Resources(memory_bytes=instance.spec.reserved_bytes, containers=1)


def describe_plan(plan: Plan) -> Sequence[str]:
    """The plan as lines for people."""
    later = _describe_asking(plan.asking)
    if not plan.steps:
        return ["no selected test needs a service", *later]
    rows: list[tuple[str, ...]] = [("service", "image", "lives for", "needs", "tests", "first needed by")]
    for step in plan.steps:
        place = step.instance.key.place
        lives = place.scope.word if not place.node else f"{place.scope.word} {place.node}"
        needs = ", ".join(alias for alias, _ in step.instance.dependencies) or "-"
        source = step.instance.spec.source
        rows.append((str(step.instance.key.service), source, lives, needs, str(step.tests), step.first_test))
    if any(step.instance.key.variation for step in plan.steps):
        cells = (", ".join(map(str, step.instance.key.variation)) or "-" for step in plan.steps)
        rows = [(row[0], cell, *row[1:]) for row, cell in zip(rows, ["variant", *cells], strict=True)]
    return [*align(rows), *later]


def _describe_asking(tests: Sequence[str]) -> list[str]:
    if not tests:
        return []
    asked = "what request.getfixturevalue() or getfixture() asks for in"
    return [f"not known before they run, so not in this plan: {asked} {name_some(tests)}"]
