"""Which tests get which fresh copies: the place that a copy lives for, and how many there will be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_isolate.model.fresh import FreshSpec
from pytest_isolate.model.service import ServiceId, ServiceSpec
from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.planning.placement import InstanceKey, Place, Where, place_instances, place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Copies of one kind that an instance will be asked for, by all workers together."""

    fresh_id: ServiceId
    spec: FreshSpec
    count: int


def place_of_copy(spec: FreshSpec, fresh_id: ServiceId, where: Where) -> Place:
    """The place whose end is the end of a copy. Each worker has copies of its own, whatever their scope."""
    lives = ServiceSpec(name=spec.name, location=spec.location, scope=spec.scope, share="worker")
    return place_of(lives, fresh_id, where)


def base_of(spec: FreshSpec, catalogue: Catalogue, where: Where) -> InstanceKey:
    """The instance that a test at `where` gets a copy of."""
    return place_instances([spec.base], catalogue, where)[-1].key


def count_copies(
    wanted: Iterable[tuple[Where, Sequence[ServiceId], Catalogue]],
) -> dict[InstanceKey, tuple[Wanted, ...]]:
    """What each instance will be asked for, by tests and what is declared as each of them has it."""
    places: dict[InstanceKey, dict[ServiceId, set[Place]]] = defaultdict(lambda: defaultdict(set))
    specs: dict[ServiceId, FreshSpec] = {}
    for where, kinds, catalogue in wanted:
        for fresh_id in kinds:
            spec = specs[fresh_id] = catalogue.fresh[fresh_id]
            places[base_of(spec, catalogue, where)][fresh_id].add(place_of_copy(spec, fresh_id, where))
    return {
        key: tuple(Wanted(fresh_id=i, spec=specs[i], count=len(found)) for i, found in kinds.items())
        for key, kinds in places.items()
    }
