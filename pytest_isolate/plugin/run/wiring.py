"""Builds the objects that carry out a plan: the only place that makes an engine, a store or a board."""

from __future__ import annotations

import random
import secrets
from collections.abc import Collection
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, cast

import pytest
from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.engine.api import Capability, CheckingRequests, Engine, GivingAddresses, PublishAddress
from pytest_isolate.errors import PlanError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.resources import Resources
from pytest_isolate.planning.placement import Instance
from pytest_isolate.planning.plan import Plan, peak_demand
from pytest_isolate.plugin.options import KEEP_NEVER, Settings
from pytest_isolate.plugin.run.advice import advise
from pytest_isolate.plugin.run.engine_checks import check_engine, volumes_of_two
from pytest_isolate.plugin.run.guardian_client import GuardianClient
from pytest_isolate.plugin.run.opening import OpenRun, RunMembership, in_memory_bytes, open_reuse_store, run_budget
from pytest_isolate.running.cleanup.ryuk import Ryuk
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.launcher import Launcher
from pytest_isolate.running.containers.output import Outputs
from pytest_isolate.running.containers.running import InstanceObserver, RunningInstance
from pytest_isolate.running.containers.usage import UsageMeter
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.data.fresh import FreshCopies
from pytest_isolate.running.data.reset import Resetter
from pytest_isolate.running.images.images import Images
from pytest_isolate.running.images.imported import ImportedImages
from pytest_isolate.running.images.snapshots import Snapshots, can_save_snapshots
from pytest_isolate.running.instances.agreement import Agreement
from pytest_isolate.running.instances.budget import BudgetKeeper, StartGate
from pytest_isolate.running.instances.client_containers import ClientContainers
from pytest_isolate.running.instances.external import ExternalServices
from pytest_isolate.running.instances.lifecycle import Handles, Lifecycle
from pytest_isolate.running.instances.retained import Remover, RetainedInstances
from pytest_isolate.running.instances.starter import BaseImages, Starter
from pytest_isolate.running.network.addresses import (
    HELD_INSTEAD,
    Addresses,
    choose_publish_address,
    why_no_native_ports,
)
from pytest_isolate.running.network.networks import Networks
from pytest_isolate.running.network.volumes import Volumes
from pytest_isolate.running.ownership.domains import KeptDomain, SharingDomain, SharingDomains
from pytest_isolate.running.ownership.reuse import ReuseStore
from pytest_isolate.running.readiness.exits import ExitWatcher
from pytest_isolate.running.readiness.watcher import Watcher
from pytest_isolate.running.testcontainers.modules import Modules
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.board import Board, LeaseTable, open_locks
from pytest_isolate.sharing.cache import cache_folder, ensure_secret
from pytest_isolate.sharing.folders import built_folder, external_copies_folder, image_paths_folder, snapshot_usage

if TYPE_CHECKING:
    from pytest_isolate.running.report.recorder import Recorder

# A sweep that has more to remove than this goes on in the next run.
_SWEEP_S = 30
# What a user's function may raise to say that it has failed.
_FAILURES = (Exception, pytest.fail.Exception, pytest.skip.Exception)


class Guards(InstanceObserver):
    """The guardian and, where it is on, Ryuk: what removes the run's objects if this process cannot."""

    def __init__(self, run: Run, guardian: GuardianClient, ryuk: Ryuk | None) -> None:
        self._run = run
        self.guardian = guardian
        self._ryuk = ryuk

    def require(self) -> None:
        """Return when all of them watch; EngineError otherwise, for nothing may be started without them."""
        self.guardian.require()
        if self._ryuk:
            self._ryuk.require()

    def launched(self, running: RunningInstance) -> None:
        """Hold the ports: a worker may die while others go on to use the instance that it started."""
        if self._run.worker and running.ports.sockets:
            self.guardian.hold([sock.fileno() for sock in running.ports.sockets])

    def close(self) -> None:
        """Close the connections."""
        self.guardian.close()
        if self._ryuk:
            self._ryuk.close()


class Wired(Struct, frozen=True, kw_only=True):
    """The wired objects of a process that starts services."""

    engine: Engine
    lifecycle: Lifecycle
    kept_codes: Collection[str]
    """The kept instances that this process has used so far."""
    exit_watcher: ExitWatcher
    guards: Guards
    snapshots: Snapshots | None
    fresh_copies: FreshCopies
    resetter: Resetter
    retained: RetainedInstances
    usage_meter: UsageMeter
    sweeping: Future[None]

    def close(self, snapshots_s: float) -> None:
        """Close everything, after so long for snapshots that are being saved. The containers are removed already."""
        if self.snapshots:
            self.snapshots.finish(snapshots_s)
        wait([self.sweeping], timeout=_SWEEP_S)
        self.lifecycle.release_addresses()
        self.exit_watcher.stop()
        self.guards.close()
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
    for first, other, name in volumes_of_two(_shared(plan) if settings.reuse else ()):
        raise PlanError(
            f"services '{first.key.service}' and '{other.key.service}' cannot be kept for later runs, "
            f"because both use the volume {name!r}",
            found=[f"they are declared at {i.spec.location}" for i in (first, other)],
            do="run without --isolate-reuse, or give both scope='module' or share='worker'",
        )


def _shared(plan: Plan) -> list[Instance]:
    return [s.instance for s in plan.steps if not s.instance.key.place.node and not s.instance.key.place.worker]


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
    """Build what starts and removes instances; `reuse_store` takes the place of what the project keeps."""
    engine, usage_meter = opened.engine, _build_usage_meter(opened.engine, settings, plan)
    context = RunContext(engine=engine, run=member.run, clock=clock, timeline=timeline)
    reach = _choose_reach(plan, settings, engine)
    budget = _build_budget(context, member, settings, plan)
    domains = _build_domains(member, settings, clock, reuse_store)
    exit_watcher = ExitWatcher(engine, domains.run_ids)
    exit_watcher.start()
    guards = _build_guards(opened, member, settings, reach)
    snapshots = build_snapshots(engine) if settings.cache else None
    fresh_copies, resetter = _build_data(context, domains, member, plan)
    observers = [guards, usage_meter, *filter(None, [recorder]), fresh_copies, resetter]
    retained = RetainedInstances(budget, is_on=settings.keep != KEEP_NEVER)
    gate = StartGate(budget, guards.require, engine.facts().parallel_starts)
    modules = Modules(engine)
    watcher = Watcher(context, exit_watcher, modules)
    launcher = _build_launcher(context, member, settings, plan, reach, watcher.outputs)
    remover = Remover(launcher, budget, retained, observers)
    agreement = Agreement(context, domains, launcher, gate)
    images = Images(engine, open_locks(), Board(built_folder()), Board(member.folder), timeline.on_progress)
    bases = BaseImages(context, images, snapshots, gate)
    starter = Starter(context, agreement, bases, launcher, watcher, gate, remover, observers)
    clients = ClientContainers(context, images, fresh_copies.is_copied, guards.guardian.require)
    external = ExternalServices(context, domains.private, clients, gate, observers)
    handles = Handles(context, watcher, gate, modules, observers)
    lifecycle = Lifecycle(context, starter, external, handles, remover, gate, budget, observers)
    guards.guardian.on_closing(gate.close)
    return Wired(
        engine=engine,
        lifecycle=lifecycle,
        kept_codes=agreement.kept_codes,
        exit_watcher=exit_watcher,
        guards=guards,
        snapshots=snapshots,
        fresh_copies=fresh_copies,
        resetter=resetter,
        retained=retained,
        usage_meter=usage_meter,
        sweeping=opened.sweeping,
    )


def _choose_reach(plan: Plan, settings: Settings, engine: Engine) -> PublishAddress:
    """Choose the address of published ports; PlanError for what the engine cannot do, such as native ports."""
    facts = engine.facts()
    checking = cast("CheckingRequests", engine) if facts.checks_requests else None
    check_engine((step.instance for step in plan.steps), facts, checking)
    reach = choose_publish_address(facts, settings.bind, settings.host)
    reason = why_no_native_ports(reach)
    if not reason and Capability.NATIVE_PORTS not in facts.capabilities:
        reason = f"{facts.name} {facts.version} cannot {Capability.NATIVE_PORTS.value}"
    native = [step.instance for step in plan.steps if step.instance.native_ports and not step.instance.spec.external]
    if reason and native:
        service = native[0].key.service
        raise PlanError(
            f"service '{service}' cannot have its native ports: its stack is declared with ports='native'",
            found=[reason, f"it is declared at {native[0].spec.location}"],
            do=HELD_INSTEAD,
        )
    return reach


def _build_usage_meter(engine: Engine, settings: Settings, plan: Plan) -> UsageMeter:
    can_save = settings.cache and can_save_snapshots(engine.facts())
    can_keep = not settings.reuse and not any(volumes_of_two(_shared(plan)))
    planned = [step.instance for step in plan.steps]
    return UsageMeter(engine.read_counters, lambda i: advise(i, planned, can_save=can_save, can_keep=can_keep))


def build_snapshots(engine: Engine) -> Snapshots:
    """This user's snapshots on an engine, and those that were loaded."""
    loaded = ImportedImages(engine, Board(built_folder()))
    return Snapshots(engine, ensure_secret(cache_folder()), snapshot_usage(), open_locks(), loaded)


def _build_budget(context: RunContext, member: RunMembership, settings: Settings, plan: Plan) -> BudgetKeeper:
    room = run_budget(settings, context.engine.facts())
    check_budget(room, peak_demand(plan, member.workers))
    return BudgetKeeper(LeaseTable(member.folder), room, context.run, context.clock, plan, member.workers)


def _build_guards(opened: OpenRun, member: RunMembership, settings: Settings, reach: PublishAddress) -> Guards:
    guardian, ryuk = GuardianClient(opened.armed), None
    if settings.ryuk and not opened.engine.facts().is_local:
        ryuk = Ryuk(opened.engine, member.run, Board(member.folder), reach, guardian.hold)
    return Guards(member.run, guardian, ryuk)


def _build_data(
    context: RunContext, domains: SharingDomains, member: RunMembership, plan: Plan
) -> tuple[FreshCopies, Resetter]:
    engine, run, clock = context.engine, context.run, context.clock
    copies = FreshCopies(engine, run, domains, plan.copies, member.workers, clock, Board(external_copies_folder()))
    return copies, Resetter(engine, run, clock, context.timeline, copies.open_backend, _FAILURES)


def _build_launcher(
    context: RunContext,
    member: RunMembership,
    settings: Settings,
    plan: Plan,
    reach: PublishAddress,
    outputs: Outputs,
) -> Launcher:
    engine, rng = context.engine, random.Random(secrets.randbits(64))
    facts = engine.facts()
    giving = cast("GivingAddresses", engine) if facts.gives_addresses else None
    return Launcher(
        context,
        Networks(engine, settings.subnets, rng),
        Addresses(rng, reach=reach, known=member.ports, facts=facts, given_by=giving),
        Volumes(engine),
        outputs,
        in_memory_bytes(engine, settings),
        plan.copies,
        Board(image_paths_folder()) if settings.cache else None,
    )


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
