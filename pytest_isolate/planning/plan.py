"""The plan of a run: which instances, in which order, for which tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_isolate.model.scope import Scope
from pytest_isolate.model.service import ServiceId
from pytest_isolate.planning.loading import Catalogue
from pytest_isolate.planning.placement import Instance, InstanceKey, Where, place_instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One selected test and the services that it asks for, directly or through other fixtures."""

    where: Where
    services: tuple[ServiceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instance of the plan, with the number of tests that use it and the first of them."""

    instance: Instance
    tests: int
    first_test: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Every instance that the selected tests will use, in the order of first need."""

    steps: tuple[Step, ...] = ()

    @property
    def first_wave(self) -> tuple[Instance, ...]:
        """What can start at once, because it lives for the whole run: the rest starts when its place begins."""
        return tuple(s.instance for s in self.steps if s.instance.key.place.scope is Scope.SESSION)


def build_plan(demands: Iterable[Demand], catalogue: Catalogue) -> Plan:
    """Place what each test asks for; what several tests share appears once."""
    found: dict[InstanceKey, tuple[Instance, list[str]]] = {}
    for demand in demands:
        for instance in place_instances(demand.services, catalogue, demand.where):
            found.setdefault(instance.key, (instance, []))[1].append(demand.where.test)
    steps = (Step(instance=i, tests=len(tests), first_test=tests[0]) for i, tests in found.values())
    return Plan(tuple(steps))


def peak_demand(plan: Plan, workers: int) -> tuple[int, int]:
    """The most memory (bytes) and containers that are certain to be needed at once, by all workers together."""
    shared = [s for s in plan.steps if not s.instance.key.place.node]
    narrow: dict[str, list[Instance]] = {}
    for step in plan.steps:
        if step.instance.key.place.node:
            narrow.setdefault(step.first_test, []).append(step.instance)
    run = [s.instance for s in shared if not s.instance.key.place.worker]
    # A worker that is given no test of a service's does not start it.
    private = [s.instance for s in shared if s.instance.key.place.worker for _ in range(min(workers, s.tests))]
    largest = max(narrow.values(), key=_memory, default=[])
    return _memory([*run, *private, *largest]), len(run) + len(private) + max(map(len, narrow.values()), default=0)


def _memory(instances: Iterable[Instance]) -> int:
    return sum(instance.spec.reserved_bytes for instance in instances)


def describe_plan(plan: Plan) -> Sequence[str]:
    """The plan as lines for people."""
    if not plan.steps:
        return ["no selected test needs a service"]
    rows = [("service", "image", "lives for", "needs", "tests", "first needed by")]
    for step in plan.steps:
        place = step.instance.key.place
        lives = place.scope.word if not place.node else f"{place.scope.word} {place.node}"
        needs = ", ".join(alias for alias, _ in step.instance.dependencies) or "-"
        source = step.instance.spec.source
        rows.append((str(step.instance.key.service), source, lives, needs, str(step.tests), step.first_test))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
