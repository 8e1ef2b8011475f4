"""Opens a run on the engine, once, in whichever of its processes needs a service first."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from pytest_isolate.errors import EngineError, IsolateError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.resources import Resources
from pytest_isolate.plugin.guarding import start_guardian
from pytest_isolate.plugin.options import Settings
from pytest_isolate.plugin.report import Report
from pytest_isolate.running.budget import machine_budget
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.keeping import Keep, project_code
from pytest_isolate.running.sweep import Sweep
from pytest_isolate.sharing.store import Board, kept_folder, snapshot_usage

if TYPE_CHECKING:
    from pytest_isolate.engine.api import Engine

Result = TypeVar("Result")
_RECORD = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What the processes of a run have in common: the run, and the folder for what they agree on."""

    run: Run
    folder: Path
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A run that may start things; `guardian` is the name of its guardian, empty for an engine of a plugin's own."""

    guardian: str
    sweeping: Future[None] | None = None


def open_run(
    config: pytest.Config, member: Membership, settings: Settings, clock: Clock, report: Report
) -> tuple[Engine, Opened]:
    """The engine, and the run with its guardian armed. The first process to come here sweeps up after dead runs too."""
    given: Engine | None = config.hook.pytest_isolate_engine(config=config)
    address = "" if given is None else given.facts().address
    # The guardian starts while this process imports what it needs to talk to the engine. An engine that a plugin
    # brings along may live in this process, where there is nothing to guard from outside.
    is_guarded = given is None or address.startswith("unix://")
    connected: Future[Engine] = Future()

    def enter_keep() -> None:
        """Use what is kept from here on. What has been idle for too long goes first: nothing goes that has a user."""
        _sweep(connected.result(), member.run, clock, report)
        open_keep(settings, clock).enter(member.run.owner, settings.reuse_idle_s)

    prepare = enter_keep if settings.reuse else None
    arming = _in_background(lambda: _ensure_opened(member, address, is_guarded=is_guarded, prepare=prepare))
    try:
        engine = given if given is not None else _connect_to_docker()
    except BaseException as error:
        connected.set_exception(error)
        raise
    connected.set_result(engine)
    try:
        _check_local(engine)
        opened, is_first = arming.result()
        if is_first and not settings.reuse:
            opened = replace(opened, sweeping=_in_background(lambda: _sweep(engine, member.run, clock, report)))
    except BaseException:
        engine.close()
        raise
    return engine, opened


def find_opened(member: Membership) -> Opened | None:
    """The run as it was opened; None where no process has needed a service so far."""
    record = Board(member.folder).read(_RECORD)
    return None if record is None else Opened(guardian=record["guardian"])


def connect(config: pytest.Config) -> Engine:
    """The engine that a plugin provides, else the first that answers; EngineUnreachable says what was tried."""
    given: Engine | None = config.hook.pytest_isolate_engine(config=config)
    return given if given is not None else _connect_to_docker()


def open_keep(settings: Settings, clock: Clock) -> Keep:
    """What this project keeps for later runs."""
    return Keep(kept_folder() / project_code(settings.project), clock.time)


def run_budget(settings: Settings) -> Resources:
    """The budget of a run: what the options say, else what the machine has."""
    machine = machine_budget()
    return Resources(
        memory_bytes=settings.max_memory_bytes or machine.memory_bytes,
        containers=settings.max_containers or machine.containers,
    )


def _ensure_opened(
    member: Membership, address: str, *, is_guarded: bool, prepare: Callable[[], None] | None
) -> tuple[Opened, bool]:
    """The opened run, and whether this process has opened it."""
    board = Board(member.folder)
    with board.claim(_RECORD, lambda: None):
        found = find_opened(member)
        if found:
            return found, False
        opened = Opened(guardian=start_guardian(member.run, address) if is_guarded else "")
        if prepare:
            prepare()
        board.publish(_RECORD, {"guardian": opened.guardian})
        return opened, True


def _sweep(engine: Engine, run: Run, clock: Clock, report: Report) -> None:
    sweep = Sweep(engine, run.owner, kept_folder(), snapshot_usage(), clock.time)
    try:
        sweep.remove(sweep.judge(own_run=run.run_id))
    except IsolateError as error:
        report.warnings.append(str(error))


def _connect_to_docker() -> Engine:
    from pytest_isolate.engine.docker import connect as connect_to_docker  # not in runs without services

    return connect_to_docker(os.environ)


def _check_local(engine: Engine) -> None:
    facts = engine.facts()
    if not facts.is_local:
        raise EngineError(
            f"the engine at {facts.address} is on another host",
            found="services are published on ports that are reserved on this host",
            do="use an engine on this host: unset DOCKER_HOST, or docker context use default",
        )


def _in_background(work: Callable[[], Result]) -> Future[Result]:
    """What a thread makes of some work; the run does not wait for it to end."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="isolate-opening", daemon=True).start()
    return future
