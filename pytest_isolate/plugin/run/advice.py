"""Ways to make the next start of a service quick, so that a hint names only what is possible for it. Pure."""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.planning.placement import Instance
from pytest_isolate.running.images.snapshot_key import can_be_snapshotted

SNAPSHOT = "snapshot=[its folders] saves what it makes of itself"
REUSE = "--isolate-reuse keeps it for the next run"


def advise(instance: Instance, planned: Collection[Instance], *, can_save: bool, can_keep: bool) -> list[str]:
    """Ways to a quick start that this service, in this run, does not have yet."""
    return [
        *([SNAPSHOT] if can_save and could_be_saved(instance.spec) else []),
        *([REUSE] if can_keep and could_be_kept(instance, planned) else []),
    ]


def could_be_saved(spec: ServiceSpec) -> bool:
    """True where snapshot= would be accepted, and is not there yet."""
    is_free = not spec.snapshot and spec.module is None and not spec.external
    return is_free and can_be_snapshotted(replace(spec, snapshot=("/",)))


def could_be_kept(instance: Instance, planned: Collection[Instance]) -> bool:
    """True where --isolate-reuse would keep it, and all that it needs."""
    spec, place = instance.spec, instance.key.place
    if place.node or place.worker or spec.share != "run" or spec.reset or spec.external:
        return False
    needed = {key for _, key in instance.dependencies}
    return all(could_be_kept(other, planned) for other in planned if other.key in needed)
