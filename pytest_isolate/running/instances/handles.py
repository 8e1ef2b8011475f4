"""Handles for tests of instances that are ready, and what these do: stop, start again, give a fault."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pytest_isolate.running.containers.controls import ContainerControls
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.memory import Memory
from pytest_isolate.running.containers.running import InstanceObserver, RunningInstance
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.faults.target import Target
from pytest_isolate.running.images.images import image_tag
from pytest_isolate.running.instances.external import ExternalHandle
from pytest_isolate.running.instances.gate import StartGate
from pytest_isolate.running.readiness.watcher import Watcher
from pytest_isolate.running.testcontainers.module_service import ModuleService
from pytest_isolate.running.testcontainers.modules import Modules


class Handles:
    """Makes handles."""

    def __init__(
        self,
        context: RunContext,
        watcher: Watcher,
        gate: StartGate,
        modules: Modules,
        observers: Sequence[InstanceObserver],
    ) -> None:
        self._context = context
        self._memory = Memory(context)
        self._watcher = watcher
        self._gate = gate
        self._modules = modules
        self._observers = observers

    def of(self, running: RunningInstance) -> Service:
        """Return the handle of an instance that is ready."""
        if running.spec.external:
            return ExternalHandle(running.view)
        kind = partial(ModuleService, module=self._modules.of(running)) if running.spec.module else Service
        return kind(
            running.view, self._controls(running), image=image_tag(running.spec), container_id=running.container_id
        )

    def _controls(self, running: RunningInstance) -> ContainerControls:
        run = self._context.run
        target = Target(
            service=running.spec.name,
            engine=self._context.engine,
            container_id=running.container_id,
            image=image_tag(running.spec),
            # What is made for a fault goes with this run, also where the service is kept.
            labels=run.labels(),
            name_helper=lambda word: run.resource_name(running.spec.name, "fault", word),
        )
        return ContainerControls(target, partial(self._memory.hold, running), partial(self._start_again, running))

    def _start_again(self, running: RunningInstance) -> None:
        """Start a container that was stopped, and return when it is ready."""
        self._memory.check(running)
        started_at = self._context.clock.time()
        self._context.engine.start_container(running.container_id)
        self._memory.release(running)
        self._watcher.wait_until_ready(running, started_at, self._gate.raise_if_closing, is_first=False)
        for observer in self._observers:
            observer.restarted(running)
