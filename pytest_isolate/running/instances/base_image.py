"""The image that an instance is started from: the declared one, or a snapshot of what it became at its first start."""

from __future__ import annotations

from contextlib import ExitStack

from msgspec import Struct

from pytest_isolate.engine.api import ImageFacts
from pytest_isolate.planning.placement import Instance
from pytest_isolate.running.containers.running import RunningInstance, StartRequest
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.images.images import Images, image_tag
from pytest_isolate.running.images.snapshots import Snapshot, Snapshots
from pytest_isolate.running.instances.gate import StartGate


class BaseImage(Struct, frozen=True):
    """A declared image, and the snapshot that the service has or could have of it."""

    facts: ImageFacts
    snapshot: Snapshot | None


class BaseImages:
    """Finds images, and takes and uses snapshots where they are on."""

    def __init__(self, context: RunContext, images: Images, snapshots: Snapshots | None, gate: StartGate) -> None:
        self._context = context
        self._images = images
        self._snapshots = snapshots
        self._gate = gate

    def find(self, instance: Instance) -> BaseImage:
        """Return the image of an instance; it is fetched or built where it is not there."""
        with self._context.measure("image", instance):
            facts = self._images.ensure(instance.spec)
        return BaseImage(facts, self.find_snapshot(instance, facts))

    def find_snapshot(self, instance: Instance, facts: ImageFacts) -> Snapshot | None:
        """Return the snapshot that an instance has or could have; None where there are to be none."""
        if self._snapshots is None:
            return None
        return self._snapshots.identify(instance.spec, instance.key.service.stack.name, facts)

    def choose_tag(self, instance: Instance, image: BaseImage, undo: ExitStack) -> str:
        """Return the snapshot's tag where there is one; the first who asks makes it for all others."""
        if self._snapshots and image.snapshot:
            if self._snapshots.wait_until_available(image.snapshot, self._gate.raise_if_closing):
                return image.snapshot.tag
            undo.callback(self._snapshots.release, image.snapshot)
        return image_tag(instance.spec)

    def save_snapshot(self, start: StartRequest, running: RunningInstance) -> None:
        """Save what an instance that has just become ready has made of itself, where that is not there yet."""
        if self._snapshots and start.snapshot and start.tag != start.snapshot.tag:
            with self._context.measure("snapshot", start.instance):
                self._snapshots.save(start.snapshot, running.container_id)
