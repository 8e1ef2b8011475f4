"""Which services are reset after a test, in which order, and whom that must not disturb."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from pytest_isolate.declarations.graph import reachable
from pytest_isolate.errors import PlanError
from pytest_isolate.planning.placement import Instance, InstanceKey


def order_resets(used: Sequence[Instance]) -> tuple[tuple[Instance, ...], ...]:
    """Group what a test has used and is to be reset: what needs others comes before them, and may use them for it.

    Those of one group have nothing to do with each other. `used` has each instance behind what it needs.
    """
    groups: dict[InstanceKey, int] = {}
    for instance in reversed(used):
        group = groups.setdefault(instance.key, 0)
        behind = group + 1 if instance.spec.reset else group
        for _, needed in instance.dependencies:
            groups[needed] = max(groups.get(needed, 0), behind)
    numbers = sorted({groups[i.key] for i in used if i.spec.reset})
    return tuple(tuple(i for i in used if i.spec.reset and groups[i.key] == number) for number in numbers)


def check_resets(instances: Iterable[Instance], workers: int) -> None:
    """PlanError where one worker would reset a service under the running test of another."""
    for instance in instances:
        place, spec = instance.key.place, instance.spec
        if workers > 1 and spec.reset and spec.external:
            raise PlanError(
                f"service '{instance.key.service}' has reset= and runs already (given by {spec.external.given_by}), so "
                f"each of the {workers} workers would take the data from under the running tests of the others",
                found=f"it is declared at {spec.location}",
                do="run without -n",
            )
        if workers > 1 and spec.reset and not place.node and not place.worker:
            raise PlanError(
                f"service '{instance.key.service}' has reset= and is shared by the run, so each of the {workers} "
                "workers would take the data from under the running tests of the others",
                found=f"it is declared at {spec.location}",
                do="declare reset= on the service itself and leave share='run' out: each worker then has a service of "
                "its own; or run without -n; or give each test a copy of its data, see fresh()",
            )


def dependents_of(key: InstanceKey, instances: Collection[Instance]) -> tuple[Instance, ...]:
    """An instance and all that need it, directly or through others, each before what it needs."""
    needed_by: dict[InstanceKey, list[InstanceKey]] = defaultdict(list)
    for instance in instances:
        for _, needed in instance.dependencies:
            needed_by[needed].append(instance.key)
    found = reachable([key], needed_by)
    chosen = (instance for instance in instances if instance.key in found)
    return tuple(sorted(chosen, key=lambda instance: len(reachable([instance.key], needed_by))))
