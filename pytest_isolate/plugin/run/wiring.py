"""Builds the objects that carry out a plan: the only place that makes an engine, a store or a board."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.errors import PlanError
from pytest_isolate.model.resources import Resources
from pytest_isolate.planning.placement import Instance, NetworkKey
from pytest_isolate.planning.plan import Plan, peak_demand
from pytest_isolate.plugin.options import KEEP_NEVER, Settings
from pytest_isolate.plugin.run.guardian_client import GuardianClient
from pytest_isolate.plugin.run.opening import OpenRun, RunMembership, in_memory_bytes, open_reuse_store, run_budget
from pytest_isolate.running.cleanup.ryuk import Ryuk
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.launcher import Launcher
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.containers.usage import UsageMeter
from pytest_isolate.running.data.fresh import FreshCopies
from pytest_isolate.running.data.reset import Resetter
from pytest_isolate.running.images.images import Images
from pytest_isolate.running.images.imported import ImportedImages
from pytest_isolate.running.images.snapshots import Snapshots
from pytest_isolate.running.instances.budget import BudgetKeeper
from pytest_isolate.running.instances.client_containers import ClientContainers
from pytest_isolate.running.instances.lifecycle import Lifecycle
from pytest_isolate.running.instances.provider import Provider
from pytest_isolate.running.instances.retained import RetainedInstances
from pytest_isolate.running.instances.starter import Starter
from pytest_isolate.running.network.addresses import Addresses, choose_publish_address
from pytest_isolate.running.network.networks import Networks
from pytest_isolate.running.network.ports import HeldPorts
from pytest_isolate.running.network.volumes import Volumes
from pytest_isolate.running.ownership.domains import KeptDomain, SharingDomain, SharingDomains
from pytest_isolate.running.ownership.reuse import ReuseStore
from pytest_isolate.running.readiness.exits import ExitWatcher
from pytest_isolate.running.readiness.watcher import Watcher
from pytest_isolate.running.testcontainers.modules import Modules
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.board import Board, LeaseTable, open_locks
from pytest_isolate.sharing.folders import (
    built_folder,
    cache_folder,
    ensure_secret,
    external_copies_folder,
    snapshot_usage,
)

if TYPE_CHECKING:
    from pytest_isolate.engine.api import Engine
    from pytest_isolate.running.report.recorder import Recorder

# A sweep that has more to remove than this goes on in the next run.
_SWEEP_S = 30
# What a user's function may raise to say that it has failed.
_FAILURES = (Exception, pytest.fail.Exception, pytest.skip.Exception)


class Wired(Struct, frozen=True, kw_only=True):
    """The wired objects of a process that starts services."""

    engine: Engine
    lifecycle: Lifecycle
    provider: Provider
    exit_watcher: ExitWatcher
    guard: GuardianClient
    snapshots: Snapshots | None
    fresh_copies: FreshCopies
    resetter: Resetter
    retained: RetainedInstances
    usage_meter: UsageMeter
    sweeping: Future[None]
    ryuk: Ryuk | None = None

    def close(self, snapshots_s: float) -> None:
        """Let go of everything that is open. The containers are removed already.

        Waits so long for snapshots that are still being saved.
        """
        if self.snapshots:
            self.snapshots.finish(snapshots_s)
        wait([self.sweeping], timeout=_SWEEP_S)
        self.lifecycle.release_addresses()
        self.exit_watcher.stop()
        self.guard.close()
        if self.ryuk:
            self.ryuk.close()
        self.engine.close()


def check_budget(budget: Resources, needed: Resources) -> None:
    """PlanError for what can never run at once."""
    if not needed.fits(budget):
        raise PlanError(
            "the services that have to run at the same time can never fit into the run's budget",
            found=f"they need {needed}; the budget is {budget}",
            do="raise --isolate-max-memory or --isolate-max-containers, lower memory= of the services, select fewer "
            "tests, or run fewer workers",
        )


def check_reuse(settings: Settings, plan: Plan) -> None:
    """PlanError for what cannot be kept: a volume of two services, of which one may change and the other not."""
    if settings.ryuk and settings.keep != KEEP_NEVER:
        raise PlanError(
            "nothing can be kept for you to look inside where Ryuk cleans up: it removes all of a run that has ended",
            found=f"isolate_ryuk = true, and --isolate-keep={settings.keep}",
            do="add -o isolate_ryuk=false for this run",
        )
    shared = [s.instance for s in plan.steps if not s.instance.key.place.node and not s.instance.key.place.worker]
    for first, other, name in volumes_of_two(shared if settings.reuse else ()):
        raise PlanError(
            f"services '{first.key.service}' and '{other.key.service}' cannot be kept for later runs, "
            f"because both use the volume {name!r}",
            found=[f"they are declared at {i.spec.location}" for i in (first, other)],
            do="run without --isolate-reuse, or give both scope='module' or share='worker'",
        )


def volumes_of_two(instances: Iterable[Instance]) -> Iterator[tuple[Instance, Instance, str]]:
    """Each volume that two of these have in common."""
    users: dict[tuple[NetworkKey, str], Instance] = {}
    for instance in instances:
        for name, _ in instance.spec.volumes:
            first = users.setdefault((instance.network, name), instance)
            if first is not instance:
                yield first, instance, name


def wire(
    opened: OpenRun,
    member: RunMembership,
    settings: Settings,
    plan: Plan,
    clock: Clock,
    timeline: Timeline,
    reuse_store: ReuseStore | None = None,
    recorder: Recorder | None = None,
) -> Wired:
    """Everything that starts, shares, waits for and removes instances, for this process.

    `reuse_store` takes the place of what the project keeps for later runs.
    """
    rng = random.Random(secrets.randbits(64))
    run, engine, guard = member.run, opened.engine, GuardianClient(opened.armed)
    facts = engine.facts()
    reach = choose_publish_address(facts, settings.bind, settings.host)
    addresses = Addresses(rng, reach=reach, known=member.ports, facts=facts)
    room = run_budget(settings, facts)
    check_budget(room, peak_demand(plan, member.workers))
    domains = _build_domains(member, settings, clock, reuse_store)
    exit_watcher = ExitWatcher(engine, domains.run_ids)
    exit_watcher.start()
    networks = Networks(engine, settings.subnets, rng)
    volumes = Volumes(engine)
    launcher = _choose_launcher(recorder)(
        engine, run, addresses, volumes, clock.time, in_memory_bytes(engine, settings), plan.copies
    )
    modules = Modules(engine)
    watcher = Watcher(engine, run, clock, exit_watcher, timeline.on_progress, modules)

    def keep_held(ports: HeldPorts) -> None:
        # A worker may die while others go on to use the instance that it started.
        if run.worker and ports.sockets:
            guard.hold([sock.fileno() for sock in ports.sockets])

    ryuk = None if facts.is_local or not settings.ryuk else Ryuk(engine, run, Board(member.folder), reach, guard.hold)

    def require_guard() -> None:
        guard.require()
        if ryuk:
            ryuk.require()

    locks = open_locks()
    snapshots = build_snapshots(engine) if settings.cache else None
    fresh_copies = FreshCopies(
        engine, run, domains, plan.copies, member.workers, clock, Board(external_copies_folder())
    )
    resetter = Resetter(engine, run, clock, timeline, fresh_copies.open_backend, _FAILURES)

    def on_ready(running: RunningInstance, base: Service) -> None:
        if recorder and not running.spec.external:
            recorder.ready(running)
        fresh_copies.begin(running, base)
        resetter.begin(running)

    budget = BudgetKeeper(LeaseTable(member.folder), room, run, clock, plan, member.workers)
    retained = RetainedInstances(budget, is_on=settings.keep != KEEP_NEVER)
    usage_meter = UsageMeter(engine.read_counters)
    images = Images(engine, locks, Board(built_folder()), Board(member.folder), timeline.on_progress)
    starter = Starter(
        engine=engine,
        run=run,
        timeline=timeline,
        images=images,
        snapshots=snapshots,
        networks=networks,
        launcher=launcher,
        watcher=watcher,
        budget=budget,
        require_guard=require_guard,
        keep_held=keep_held,
        save_pristine=fresh_copies.save_pristine,
        retained=retained,
    )
    provider = Provider(
        engine=engine,
        run=run,
        domains=domains,
        clock=clock,
        timeline=timeline,
        starter=starter,
        client_containers=ClientContainers(engine, run, images, fresh_copies.is_copied, guard.require),
        launcher=launcher,
        watcher=watcher,
        budget=budget,
        save_pristine=fresh_copies.save_pristine,
        retained=retained,
        on_restart=resetter.begin_again,
        before_removal=usage_meter.read,
    )
    lifecycle = Lifecycle(
        engine=engine,
        clock=clock,
        networks=networks,
        addresses=addresses,
        volumes=volumes,
        provider=provider,
        on_ready=on_ready,
        retained=retained,
        modules=modules,
    )
    # It removes the run's objects when the controller is gone; nothing may be started beside that.
    guard.on_closing(starter.stop)
    return Wired(
        engine=engine,
        lifecycle=lifecycle,
        provider=provider,
        exit_watcher=exit_watcher,
        guard=guard,
        snapshots=snapshots,
        fresh_copies=fresh_copies,
        resetter=resetter,
        retained=retained,
        usage_meter=usage_meter,
        sweeping=opened.sweeping,
        ryuk=ryuk,
    )


def build_snapshots(engine: Engine) -> Snapshots:
    """This user's snapshots on an engine, and those that were loaded."""
    loaded = ImportedImages(engine, Board(built_folder()))
    return Snapshots(engine, ensure_secret(cache_folder()), snapshot_usage(), open_locks(), loaded)


def _choose_launcher(recorder: Recorder | None) -> Callable[..., Launcher]:
    if recorder is None:
        return Launcher
    from pytest_isolate.running.report.recorder import RecordingLauncher  # only with --isolate-report

    return partial(RecordingLauncher, recorder)


def _build_domains(
    member: RunMembership, settings: Settings, clock: Clock, reuse_store: ReuseStore | None
) -> SharingDomains:
    run = member.run
    kept = None
    if settings.reuse:
        store = reuse_store or open_reuse_store(settings, clock)
        kept = KeptDomain(run=store.run(run.owner), board=store.board, reuse_store=store)
    shared = SharingDomain(run=replace(run, worker=""), board=Board(member.folder))
    return SharingDomains(private=SharingDomain(run=run), shared=shared, kept=kept)
