"""Modules of running services: one process starts each, all that use the service attach to it, and tests get both."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import IsolateError, build_message
from pytest_isolate.model.probes import Answer, Command, Dead, NotYet, Ready
from pytest_isolate.running.containers.controls import Controls
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.containers.view import ServiceView
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
    with suppress(StartIntercepted):  # it is configured, which is all that is wanted
        met.start()
    met._container = source.container
    return met


class _Start:
    """A module's start, in a thread of its own: it may wait in its own way for minutes."""

    def __init__(self, declared: DeclaredModule, source: Started) -> None:
        from pytest_isolate.running.testcontainers.adapted import shorten_poll_interval

        self.module = declared.adapt(source)
        self._source = source
        self._ended: Future[None] = Future()
        shorten_poll_interval(self.module)
        threading.Thread(target=self._run, name=f"isolate-module-{declared.name}", daemon=True).start()

    def ask(self) -> Answer:
        if not self._ended.done():
            return NotYet(self._source.container.last_answer or "it waits")
        error = self._ended.exception()
        return Dead("\n".join(_causes(error))) if error else Ready()

    def give_up(self) -> None:
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
    # The outermost may say only which strategy has failed.
    while error:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__


M = TypeVar("M")
_SETTING = ("with_", "waiting_for", "maybe_")


class ModuleService(Service, Generic[M]):
    """A running service that was declared as a container of testcontainers.

    What this class has not, such as `get_connection_url()`, is the module's own. `module` is the module itself: its
    class, its addresses, and no way to start or stop the container.
    """

    module: M

    def __init__(self, view: ServiceView, controls: Controls, *, image: str, container_id: str, module: M) -> None:
        super().__init__(view, controls, image=image, container_id=container_id)
        self.module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "module":
            raise AttributeError(name)  # copy and pickle ask before the object is complete
        if name.startswith(_SETTING):
            what = f"service {self.name!r} runs already: {name}() would change nothing"
            raise IsolateError(build_message(what, do="say it where the service is declared, or in service(...)"))
        try:
            return getattr(self.module, name)
        except AttributeError:
            kind = type(self.module).__name__
            raise AttributeError(f"neither services nor {kind} have {name!r} (service {self.name!r})") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in dir(self.module) if not name.startswith(("_", *_SETTING)))]
