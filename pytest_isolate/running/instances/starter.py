"""The story of one instance, from asked for to published.

    agree who starts it ── started elsewhere: adopt what is published
      └ image ─ what it needs ─ room in the budget
          └ snapshot or image ─ network ─ guardian ─ container ─ ready ─ save the snapshot ─ tell the observers
              └ publish

A step that fails takes back what came before it, and the error is published in place of the instance.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for_any
from contextlib import ExitStack
from functools import partial
from typing import Any

from msgspec import Struct

from pytest_isolate.engine.api import ImageFacts
from pytest_isolate.errors import IsolateError, StartError
from pytest_isolate.model.service import ServiceSpec, describe_variation
from pytest_isolate.planning.placement import Instance, InstanceKey
from pytest_isolate.running.containers.launcher import Launcher
from pytest_isolate.running.containers.running import (
    InstanceObserver,
    RunningInstance,
    StartRequest,
    describe_instance,
    full_fingerprint,
)
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.images.images import Images, image_tag
from pytest_isolate.running.images.snapshots import Snapshot, Snapshots
from pytest_isolate.running.instances.agreement import Agreement, Claim, read_record
from pytest_isolate.running.instances.budget import RunClosing, StartGate
from pytest_isolate.running.instances.external import check_reachable
from pytest_isolate.running.instances.retained import Remover
from pytest_isolate.running.readiness.watcher import Watcher

Wait = Callable[[InstanceKey], RunningInstance]
"""Returns an instance that another one needs, once it is ready."""


class Starter:
    """Starts instances, or adopts those that another process has started."""

    def __init__(
        self,
        context: RunContext,
        agreement: Agreement,
        images: BaseImages,
        launcher: Launcher,
        watcher: Watcher,
        gate: StartGate,
        remover: Remover,
        observers: Sequence[InstanceObserver],
    ) -> None:
        self._context = context
        self._agreement = agreement
        self._images = images
        self._launcher = launcher
        self._watcher = watcher
        self._gate = gate
        self._remover = remover
        self._observers = observers

    def start(self, instance: Instance, wait: Wait) -> RunningInstance:
        """Return the instance, ready; StartError otherwise, the same in every process of the run."""
        with self._agreement.claim(instance, partial(self._find_reuse_code, instance, wait)) as claim:
            if claim.record:
                return self._adopt(claim, wait)
            with self._agreement.starting(claim), ExitStack() as undo:  # what to take back where a later step fails
                image = self._find_image(claim)
                needed = self._wait_for_dependencies(instance, wait)
                self._wait_for_room(instance, undo)
                with self._context.measure("start", instance):
                    request = self._build_request(claim, image, needed, undo)
                    with self._gate.slot():
                        network_id = self._join_network(request)
                        running = self._create_container(request, network_id, undo)
                    self._wait_until_ready(running)
                    self._images.save_snapshot(request, running)
                    self._tell_ready(running)
                undo.pop_all()
            self._agreement.publish(claim, running)
            return running

    def make_networks_ahead(self, instances: Iterable[Instance]) -> None:
        """Make the networks that instances of later tests will take; what goes wrong is told when they start."""
        self._gate.require_guard()
        own = [instance for instance in instances if not instance.spec.external]
        self._launcher.make_networks_ahead(own, self._agreement.private, self._gate.raise_if_closing)

    def _find_reuse_code(self, instance: Instance, wait: Wait) -> str | None:
        """Return what later runs know it by; None where they cannot use it, because what it needs is not kept."""
        image, needed = self._images.find(instance), self._needed(instance, wait)
        if not all(running.domain.is_kept for running in needed.values()):
            return None
        return _reuse_code(instance, image, needed)

    def _adopt(self, claim: Claim, wait: Wait) -> RunningInstance:
        instance = claim.instance
        needed = self._needed(instance, wait)
        self._gate.wait_for_room(instance)
        running = read_record(claim, needed, partial(self._images.find_snapshot, instance))
        if claim.domain.is_kept:
            with self._context.measure("reused", instance):
                self._watcher.wait_until_ready(running, running.started_at, self._gate.raise_if_closing, is_first=False)
        return running

    def _find_image(self, claim: Claim) -> BaseImage:
        with self._launcher.preparing_network(claim.instance, claim.domain, self._gate.raise_if_closing):
            return self._images.find(claim.instance)

    def _wait_for_dependencies(self, instance: Instance, wait: Wait) -> dict[str, RunningInstance]:
        with self._context.measure("dependencies", instance):
            needed = self._needed(instance, wait)
        check_reachable(instance, needed, self._context)
        return needed

    def _needed(self, instance: Instance, wait: Wait) -> dict[str, RunningInstance]:
        """Return what it needs, by the names that it has there, once it is ready; StartError where it cannot be."""
        needed = {}
        for alias, key in instance.dependencies:
            try:
                needed[alias] = wait(key)
            except RunClosing:
                raise
            except IsolateError as error:
                what = f"was not started because it needs {alias!r}"
                raise StartError(describe_instance(instance, self._context.run), what, found=str(error)) from error
        return needed

    def _wait_for_room(self, instance: Instance, undo: ExitStack) -> None:
        with self._context.measure("budget", instance):
            self._gate.wait_for_room(instance)
        undo.callback(self._remover.give_room_back, instance)

    def _build_request(
        self, claim: Claim, image: BaseImage, needed: Mapping[str, RunningInstance], undo: ExitStack
    ) -> StartRequest:
        return StartRequest(
            instance=claim.instance,
            domain=claim.domain,
            code=claim.code,
            image=image.facts,
            snapshot=image.snapshot,
            tag=self._images.choose_tag(claim.instance, image, undo),
            needed=needed,
        )

    def _join_network(self, request: StartRequest) -> str:
        with self._context.measure("network", request.instance):
            network_id = self._launcher.join_network(request, self._gate.raise_if_closing)
            # A network that a run leaves without a guardian goes with the next run's sweep; a container may not.
            self._gate.require_guard()
        return network_id

    def _create_container(self, request: StartRequest, network_id: str, undo: ExitStack) -> RunningInstance:
        with self._context.measure("create", request.instance):
            running = self._launcher.launch(request, network_id)
        undo.push(lambda _type, error, _traceback: self._remover.undo_start(running, error))
        for observer in self._observers:
            observer.launched(running)
        return running

    def _wait_until_ready(self, running: RunningInstance) -> None:
        with self._context.measure("ready", running.instance):
            self._watcher.wait_until_ready(running, running.started_at, self._gate.raise_if_closing)

    def _tell_ready(self, running: RunningInstance) -> None:
        for observer in self._observers:
            observer.ready(running)


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
            facts = self._ensure(instance.spec)
        return BaseImage(facts, self.find_snapshot(instance, facts))

    def _ensure(self, spec: ServiceSpec) -> ImageFacts:
        """Return the image; RunClosing where the run ends first.

        A build or a pull that is under way then is left alone. Its steps may be silent for long, and the engine stops
        when the end of this process has closed the connection.
        """
        made: Future[ImageFacts] = Future()
        waiting = threading.get_ident()

        def make() -> None:
            try:
                with self._context.timeline.working_for(waiting):
                    made.set_result(self._images.ensure(spec))
            except BaseException as error:
                made.set_exception(error)

        threading.Thread(target=make, name="isolate-image", daemon=True).start()
        ends: tuple[Future[Any], ...] = (made, self._gate.closed)
        wait_for_any(ends, return_when=FIRST_COMPLETED)
        if not made.done():
            self._gate.raise_if_closing()
        return made.result()

    def find_snapshot(self, instance: Instance, facts: ImageFacts) -> Snapshot | None:
        """Return the snapshot that an instance has or could have; None where there are to be none."""
        stack = instance.key.service.stack.name
        return self._snapshots.identify(instance.spec, stack, facts) if self._snapshots else None

    def choose_tag(self, instance: Instance, image: BaseImage, undo: ExitStack) -> str:
        """Return the snapshot's tag where there is one; the first who asks makes it for all others."""
        if self._snapshots and image.snapshot:
            if self._snapshots.wait_until_available(image.snapshot, self._gate.raise_if_closing):
                return image.snapshot.tag
            undo.callback(self._snapshots.release, image.snapshot)
        return image_tag(instance.spec)

    def save_snapshot(self, start: StartRequest, running: RunningInstance) -> None:
        """Save what an instance that has just become ready has made of itself, where that is not there yet."""
        if self._snapshots and start.snapshot and not running.spec.snapshot:
            self._snapshots.release(start.snapshot)  # the image's own data is used
        elif self._snapshots and start.snapshot and start.tag != start.snapshot.tag:
            with self._context.measure("snapshot", start.instance):
                self._snapshots.save(start.snapshot, running.container_id)


def _reuse_code(instance: Instance, image: BaseImage, needed: Mapping[str, RunningInstance]) -> str:
    """Return what later runs know it by: with the full fingerprint, so that it is what today's declaration asks for."""
    # With and without snapshots its password differs.
    code = full_fingerprint(instance, image.facts, needed, is_kept=True)
    code += image.snapshot.digest[:8] if image.snapshot else ""
    variation = describe_variation(instance.key.variation)
    # Used for another variation, it would have to be attached to networks that come before its own.
    return code + (hashlib.sha256(variation.encode()).hexdigest()[:8] if variation else "")
