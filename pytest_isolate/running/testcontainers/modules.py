"""The modules of running services: each is started by one process, and met by every process that uses the service."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from pytest_isolate.engine.api import Engine
from pytest_isolate.model.probes import Answer, Command, Dead, NotYet, Ready
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.testcontainers.declared import DeclaredModule
from pytest_isolate.running.testcontainers.sdk_container import ContainerView, WaitCancelled
from pytest_isolate.running.testcontainers.stage import Started, StartIntercepted

if TYPE_CHECKING:
    from pytest_isolate.running.testcontainers.adapted import PatchedModule


class Modules:
    """The modules of the services that this process uses, by container."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._met: dict[str, PatchedModule] = {}
        self._starts: dict[str, _Start] = {}

    def ask(self, running: RunningInstance) -> Answer:
        """Ask whether a service's module has come to the end of its start; the first question begins that."""
        with self._lock:
            start = self._starts.get(running.container_id)
            if start is None:
                start = self._starts[running.container_id] = _Start(
                    _declared(running), self._source(running, is_new=True)
                )
        return start.ask()

    def settle(self, running: RunningInstance) -> None:
        """The wait is over: what was started is kept, and what still waits is given up."""
        with self._lock:
            start = self._starts.pop(running.container_id, None)
            if start and isinstance(start.ask(), Ready):
                self._met[running.container_id] = start.module
            elif start:
                start.give_up()

    def of(self, running: RunningInstance) -> PatchedModule:
        """The module of a service that is ready, with its addresses."""
        with self._lock:
            met = self._met.get(running.container_id)
            if met is None:
                met = self._met[running.container_id] = attach(_declared(running), self._source(running, is_new=False))
            return met

    def _source(self, running: RunningInstance, *, is_new: bool) -> Started:
        checks = [probe.argv for probe in running.spec.ready if isinstance(probe, Command)]
        health = running.image.health_command or next(iter(checks), ())
        view = ContainerView(self._engine, running.spec.name, running.container_id, health)
        rehearsed = _declared(running).rehearse().values.get("env", {})
        assert isinstance(rehearsed, Mapping)
        return Started(running.view, view, is_new=is_new, rehearsed_env=rehearsed)


def attach(module: DeclaredModule, source: Started) -> PatchedModule:
    """The module of a container that is there already: configured as before a start, and not started again."""
    met = module.adapt(source)
    try:
        met.start()
    except StartIntercepted:
        pass  # it is configured, which is all that is wanted
    met._container = source.container
    return met


class _Start:
    """A module's start, in a thread of its own: it may wait in its own way for minutes."""

    def __init__(self, declared: DeclaredModule, source: Started) -> None:
        from pytest_isolate.running.testcontainers.settings import shorten_poll_interval

        self.module = declared.adapt(source)
        self._source = source
        self._ended: Future[None] = Future()
        shorten_poll_interval(self.module)
        threading.Thread(target=self._run, name=f"isolate-module-{declared.name}", daemon=True).start()

    def ask(self) -> Answer:
        """Ready when it has come to its end; Dead when it has failed."""
        if not self._ended.done():
            return NotYet(self._source.container.last_answer or "it waits")
        error = self._ended.exception()
        return Dead("\n".join(_causes(error))) if error else Ready()

    def give_up(self) -> None:
        """Have it end with its next question about its container."""
        self._source.container.is_given_up = True

    def _run(self) -> None:
        try:
            self.module.start()
        except (Exception, WaitCancelled) as error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)


def _declared(running: RunningInstance) -> DeclaredModule:
    assert isinstance(running.spec.module, DeclaredModule)
    return running.spec.module


def _causes(error: BaseException | None) -> Iterator[str]:
    """An error and what it was raised from: the outermost may say only which strategy has failed."""
    while error:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__
