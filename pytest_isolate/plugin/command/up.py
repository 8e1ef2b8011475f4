"""Starts services that no test asks for, for work by hand: they stay until `pytest-isolate down`.

Built on what keeps services between runs, with a ReuseStore of their own, which never runs out.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
from msgspec.structs import replace

from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.engine.api import Progress
from pytest_isolate.errors import IsolateError, PlanError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.service import Scope, ServiceId
from pytest_isolate.planning.placement import Instance, ItemPosition, place_instances
from pytest_isolate.planning.plan import Plan, Step, peak_demand
from pytest_isolate.plugin.options import KEEP_NEVER, Settings, build_settings
from pytest_isolate.plugin.run.engine_checks import volumes_of_two
from pytest_isolate.plugin.run.opening import OpenRun, RunMembership, engine_for_command, reuse_name, run_budget
from pytest_isolate.plugin.run.shutdown import close_services
from pytest_isolate.plugin.run.wiring import Wired, check_budget, wire
from pytest_isolate.running.clock import Clock, SystemClock
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.containers.view import ambiguous, variables_of
from pytest_isolate.running.images.images import image_tag
from pytest_isolate.running.ownership.reuse import ReuseStore, manual_code
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.folders import create_run_folder, kept_folder, remove_run_folder
from pytest_isolate.sharing.owners import read_owner, whose
from pytest_isolate.text import one_line, without_root

Tell = Callable[..., None]
_CLOSE_S = 20
# The user waits for the command to end; what takes longer to save is saved by a later run.
_SNAPSHOTS_S = 10


class ProgressTimeline(Timeline):
    """Tells at once of pulls and builds; not of each byte, nor of each question that a service does not answer yet."""

    def __init__(self, clock: Clock, tell: Tell) -> None:
        super().__init__(clock)
        self._tell = tell
        self._last = ""

    def on_progress(self, progress: Progress) -> None:
        """Tell of the next step, with its progress."""
        step = f"building, step {progress.done} of {progress.total}: " if progress.unit == "steps" else ""
        text = step + one_line(progress.text)
        if progress.unit and text != self._last:
            self._last = text
            self._tell("progress", text=text)


def start(config: pytest.Config, catalogue: Catalogue, services: Sequence[ServiceId], tell: Tell) -> None:
    """Start these services with what they need, or find them started; tells of each, and of each that fails."""
    # On disk: data in memory would be gone when the container is restarted by hand.
    settings = build_settings(config)._replace(reuse=True, keep=KEEP_NEVER, in_memory_bytes=0)
    instances = place_instances(services, _for_hands(catalogue), ItemPosition(test="", test_class="", module=""))
    plan = Plan(tuple(Step(instance=instance, tests=0, first_test="") for instance in instances))
    _check(instances, plan, settings)
    clock = SystemClock()
    with _wired(config, settings, plan, clock, tell) as wired:
        wired.lifecycle.start(instances)
        qualified = ambiguous(instance.key.service for instance in instances)
        for instance, outcome in _as_they_end(instances, wired):
            service = instance.key.service
            if isinstance(outcome, RunningInstance):
                facts = _facts(outcome, qualified=service in qualified)
                tell("ready", order=instances.index(instance), facts=facts)
            else:
                tell("failed", service=str(service), text=without_root(str(outcome), config.rootpath))


def _for_hands(catalogue: Catalogue) -> Catalogue:
    """The catalogue without what only makes sense around tests: how long a service lives, and how it is reset."""
    services = {
        service: replace(spec, scope=Scope.SESSION, share="run", reset=None)
        for service, spec in catalogue.services.items()
    }
    return replace(catalogue, services=services)


def _check(instances: Sequence[Instance], plan: Plan, settings: Settings) -> None:
    check_budget(run_budget(settings), peak_demand(plan, 1))
    for first, other, name in volumes_of_two(instances):
        raise PlanError(
            f"services '{first.key.service}' and '{other.key.service}' both use the volume {name!r}, and what is "
            "started by hand has its volumes for itself",
            found=[f"they are declared at {i.spec.location}" for i in (first, other)],
            do="name only one of them",
        )


@contextmanager
def _wired(config: pytest.Config, settings: Settings, plan: Plan, clock: Clock, tell: Tell) -> Iterator[Wired]:
    """The wired objects, on a ReuseStore that no other process changes meanwhile. What has started stays."""
    root = str(config.rootpath)
    code = manual_code(reuse_name(root, settings.host))
    tell("run", run=code)
    reuse_store = ReuseStore(kept_folder() / code, clock.time, whose(root))
    run = Run(run_id=secrets.token_hex(4), owner=read_owner(), secret=secrets.token_bytes(32), extra_labels=whose(root))
    timeline = ProgressTimeline(clock, tell)
    folder = create_run_folder(run.run_id, run.owner.encode())
    try:
        with reuse_store.exclusive(), engine_for_command(config) as engine:
            opened = OpenRun(engine=engine, armed=_done(""), sweeping=_done(None))
            member = RunMembership(run=run, folder=folder)
            wired = wire(opened, member, settings, plan, clock, timeline, reuse_store)
            reuse_store.enter_alone(run.owner)
            try:
                yield wired
            finally:
                close_services(wired, _CLOSE_S)
                reuse_store.leave(run.owner, sorted(wired.kept_codes))
                wired.close(_SNAPSHOTS_S)
    finally:
        remove_run_folder(folder)


def _as_they_end(
    instances: Sequence[Instance], wired: Wired
) -> Iterator[tuple[Instance, RunningInstance | IsolateError]]:
    """Each instance when it is ready, or has failed. Who is interrupted meanwhile has been told of all before."""
    ended: SimpleQueue[tuple[Instance, RunningInstance | IsolateError]] = SimpleQueue()

    def wait(instance: Instance) -> None:
        try:
            ended.put((instance, wired.lifecycle.wait(instance.key)))
        except IsolateError as error:
            ended.put((instance, error))

    for instance in instances:
        threading.Thread(target=wait, args=(instance,), name="isolate-wait", daemon=True).start()
    for _ in instances:
        yield ended.get()


def _facts(running: RunningInstance, *, qualified: bool) -> dict[str, Any]:
    """A service that runs, in plain types."""
    service, view = running.instance.key.service, running.view
    return {
        "service": str(service),
        "folder": service.stack.namespace,
        "image": running.spec.source if running.spec.external else image_tag(running.spec),
        "container": running.container_id,
        "addresses": {str(inner): endpoint.address for inner, endpoint in view.endpoints.items()},
        "url": view.url(view.outside) if view.spec.ports else None,
        "env": variables_of(service, view, qualified=qualified),
        "secrets": list(running.secrets),
    }


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
