"""Opens a run on the engine, once, in whichever of its processes needs a service first."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from msgspec import Struct

from pytest_isolate.engine import connect as engines
from pytest_isolate.engine.api import Capability, Engine, EngineFacts
from pytest_isolate.errors import EngineError, IsolateError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.resources import Resources
from pytest_isolate.plugin.options import DEFAULT_IN_MEMORY_BYTES, Settings
from pytest_isolate.plugin.run.early import armed_ahead
from pytest_isolate.plugin.run.guardian_client import GuardianProcess
from pytest_isolate.plugin.terminal.report import Report
from pytest_isolate.running.cleanup.sweep import Sweep
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.instances.budget import machine_budget
from pytest_isolate.running.network.addresses import PreassignedPorts
from pytest_isolate.running.ownership.reuse import ReuseStore, project_code
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.folders import kept_folder, snapshot_usage
from pytest_isolate.sharing.owners import whose

if TYPE_CHECKING:
    from pytest_isolate.engine.connect import OwnService

Result = TypeVar("Result")
_GIVEN: pytest.StashKey[Engine | None] = pytest.StashKey()
_RECORD = "run"
_CONNECTED = "engine"
# Memory of a machine that has not been asked yet: no declaration needs as much.
_UNKNOWN = 1 << 60


class RunMembership(Struct, frozen=True, kw_only=True):
    """Facts that the processes of a run share: the run, and the folder for what they agree on."""

    run: Run
    folder: Path
    workers: int = 1
    ports: PreassignedPorts = {}


class OpenRun(Struct, frozen=True, kw_only=True):
    """A run with an engine. `armed` is the name of its guardian, empty for an engine of a plugin's own."""

    engine: Engine
    armed: Future[str]
    sweeping: Future[None]


def open_run(config: pytest.Config, member: RunMembership, settings: Settings, clock: Clock, report: Report) -> OpenRun:
    """The run with its engine. The first process to come here arms the guardian meanwhile, and sweeps up."""
    given = given_engine(config)
    own = engines.find_own_service(os.environ, member.run.run_id) if given is None else None
    address = own.address if own else given.facts().address if given is not None else ""
    # An engine that a plugin brings along may live in this process, where there is nothing to guard from outside.
    is_guarded = given is None or address.startswith("unix://")
    connected: Future[Engine] = Future()

    def join_reuse_store() -> None:
        """Use what is kept from here on. What has been idle for too long goes first: nothing goes that has a user."""
        _sweep(connected.result(), member.run, clock, report)
        open_reuse_store(settings, clock).join(member.run.owner, settings.reuse_idle_s)

    is_first: Future[bool] = Future()
    prepare = join_reuse_store if settings.reuse else None
    ahead = armed_ahead(config, member.run.run_id, os.environ) if given is None and own is None else None
    armed = in_background(lambda: _ensure_armed(member, address if is_guarded else None, prepare, is_first, own, ahead))
    try:
        engine = given if given is not None else _connect_to_own(own, armed) if own else engines.connect()
    except BaseException as error:
        connected.set_exception(error)
        raise
    connected.set_result(engine)
    Board(member.folder).mark_started(_CONNECTED)

    def sweep() -> None:
        if is_first.result() and not settings.reuse:
            _sweep(engine, member.run, clock, report)

    try:
        in_memory_bytes(engine, settings)
        if settings.reuse:
            is_first.result()
    except BaseException:
        engine.close()
        raise
    return OpenRun(engine=engine, armed=armed, sweeping=in_background(sweep))


def given_engine(config: pytest.Config) -> Engine | None:
    """The engine that a plugin brings along; the hook is called once."""
    if _GIVEN not in config.stash:
        config.stash[_GIVEN] = config.hook.pytest_isolate_engine(config=config)
    return config.stash[_GIVEN]


def open_without_engine() -> OpenRun:
    """A run that starts nothing: there is nothing to guard, and nothing to sweep up with."""
    armed: Future[str] = Future()
    armed.set_result("")
    sweeping: Future[None] = Future()
    sweeping.set_result(None)
    return OpenRun(engine=engines.open_null_engine(), armed=armed, sweeping=sweeping)


def was_connected(member: RunMembership) -> bool:
    """Tell that a process of the run has reached an engine, so that something of it may be there."""
    return Board(member.folder).was_started(_CONNECTED)


def find_guardian(member: RunMembership) -> str | None:
    """The name of the run's guardian, empty where it needs none; None where it is not armed, or not needed so far."""
    record = Board(member.folder).read(_RECORD)
    return None if record is None else str(record["guardian"])


def connect(config: pytest.Config, run: Run) -> Engine:
    """The engine that a plugin provides, else the run's own, or the first that answers, or EngineUnreachable."""
    given = given_engine(config)
    if given is not None:
        return given
    own = engines.find_own_service(os.environ, run.run_id)
    return engines.connect(engines.at(own) if own else os.environ)


@contextmanager
def engine_for_command(config: pytest.Config) -> Iterator[Engine]:
    """The engine for a block that no guardian watches; one that has no daemon is started for it."""
    given = given_engine(config)
    if given is not None:
        yield given
        return
    with engines.served(os.environ) as env:
        yield engines.connect(env)


def open_reuse_store(settings: Settings, clock: Clock) -> ReuseStore:
    """Store of the instances that this project keeps for later runs."""
    code = project_code(reuse_name(settings.project, settings.host))
    return ReuseStore(kept_folder() / code, clock.time, whose(settings.project))


def reuse_name(project: str, host: str, env: Mapping[str, str] = os.environ) -> str:
    """Name of what a project keeps, apart for an engine elsewhere: no other engine has it, nor is it reached alike."""
    return " ".join(filter(None, (project, engines.far_address(env), host)))


def run_budget(settings: Settings, facts: EngineFacts | None = None) -> Resources:
    """The budget of a run: what the options say, else what the engine's machine has.

    Without facts nothing is known of an engine elsewhere, and nothing of its memory is refused.
    """
    if facts is None and settings.max_memory_bytes is None and engines.may_be_elsewhere(os.environ):
        machine = machine_budget(_UNKNOWN)
    else:
        machine = machine_budget(facts.memory_bytes if facts else 0)
    return Resources(
        memory_bytes=settings.max_memory_bytes or machine.memory_bytes,
        containers=settings.max_containers or machine.containers,
    )


def _ensure_armed(
    member: RunMembership,
    address: str | None,
    prepare: Callable[[], None] | None,
    is_first: Future[bool],
    own: OwnService | None,
    ahead: GuardianProcess | None,
) -> str:
    """The name of the run's guardian, once it is armed; without an address there is none.

    One that was started `ahead` is taken. `is_first` says whether this process starts it, as soon as that is known and
    all is prepared.
    """
    board = Board(member.folder)
    try:
        with board.claim(_RECORD, lambda: None):
            found = find_guardian(member)
            if found is not None:
                is_first.set_result(False)
                return found
            guardian_process = (
                None if address is None else ahead or GuardianProcess(member.run, address, own.program if own else "")
            )
            # What asks the engine for anything cannot be begun meanwhile where it is the guardian that starts it.
            name = guardian_process.wait() if guardian_process and own else ""
            try:
                if prepare:
                    prepare()
                is_first.set_result(True)
            finally:
                name = name or (guardian_process.wait() if guardian_process else "")
                board.publish(_RECORD, {"guardian": name})
            return name
    except BaseException as error:
        if not is_first.done():
            is_first.set_exception(error)
        raise


def _sweep(engine: Engine, run: Run, clock: Clock, report: Report) -> None:
    sweep = Sweep(engine, run.owner, kept_folder(), snapshot_usage(), clock.time)
    try:
        sweep.remove(sweep.judge_for(run.run_id))
    except IsolateError as error:
        report.warnings.append(str(error))


def _connect_to_own(own: OwnService, armed: Future[str]) -> Engine:
    """The engine that a guardian is starting; its error where it cannot."""
    engines.wait_for_own(own, armed.done)
    if armed.done():
        armed.result()
    return engines.connect(engines.at(own))


def in_memory_bytes(engine: Engine, settings: Settings) -> int:
    """Bytes that a service may keep in memory on this engine; EngineError where it cannot hold what is asked for."""
    facts = engine.facts()
    if Capability.MEMORY_FOLDERS in facts.capabilities:
        return settings.in_memory_bytes
    if settings.in_memory_bytes not in (0, DEFAULT_IN_MEMORY_BYTES):
        raise EngineError(
            f"{facts.name} {facts.version} keeps no data of services in memory",
            found=f"--isolate-in-memory asks for {settings.in_memory_bytes // 1024**2} MiB",
            do="leave it out: data is then on disk; or use Docker",
        )
    return 0


def in_background(work: Callable[[], Result]) -> Future[Result]:
    """Do some work in a thread, whose end the run does not wait for."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="isolate-opening", daemon=True).start()
    return future
