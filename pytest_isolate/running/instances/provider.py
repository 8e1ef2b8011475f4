"""One instance, started here or found started: the run's processes agree, so that each is started exactly once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_isolate.engine.api import Engine, ImageFacts
from pytest_isolate.errors import EngineError, IsolateError, StartError
from pytest_isolate.model.endpoint import Endpoint, ExternalService
from pytest_isolate.model.identity import Run
from pytest_isolate.model.probes import Ended
from pytest_isolate.model.service import Secret, describe_variation
from pytest_isolate.planning.placement import Instance
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.launcher import Launcher
from pytest_isolate.running.containers.memory import Memory
from pytest_isolate.running.containers.running import (
    RunningInstance,
    build_view,
    choose_password,
    collect_secrets,
    describe_instance,
    full_fingerprint,
    instance_hash,
)
from pytest_isolate.running.faults.methods import Faults
from pytest_isolate.running.faults.network import Target
from pytest_isolate.running.images.images import image_tag
from pytest_isolate.running.instances.budget import BudgetKeeper
from pytest_isolate.running.instances.client_containers import ClientContainers
from pytest_isolate.running.instances.external import endpoints_of, wait_until_it_answers
from pytest_isolate.running.instances.retained import RetainedInstances
from pytest_isolate.running.instances.starter import Starter, Wait
from pytest_isolate.running.network.ports import HeldPorts
from pytest_isolate.running.ownership.domains import KeptDomain, SharingDomain, SharingDomains
from pytest_isolate.running.readiness.watcher import Watcher
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.owners import read_start_time


class Provider:
    """Starts instances, or adopts those that another process has started."""

    def __init__(
        self,
        *,
        engine: Engine,
        run: Run,
        domains: SharingDomains,
        clock: Clock,
        timeline: Timeline,
        starter: Starter,
        client_containers: ClientContainers,
        launcher: Launcher,
        watcher: Watcher,
        budget: BudgetKeeper,
        save_pristine: Callable[[RunningInstance], None],
        retained: RetainedInstances,
        on_restart: Callable[[RunningInstance], None],
        before_removal: Callable[[RunningInstance], None],
    ) -> None:
        self._engine = engine
        self._run = run
        self._domains = domains
        self._clock = clock
        self._timeline = timeline
        self._starter = starter
        self._client_containers = client_containers
        self._launcher = launcher
        self._memory = Memory(engine, run)
        self._watcher = watcher
        self._budget = budget
        self._save_pristine = save_pristine
        self._retained = retained
        self._on_restart = on_restart
        self._before_removal = before_removal
        self.kept_codes: set[str] = set()
        """The kept instances that this process has used."""

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is started."""
        return self._starter.is_closing

    def stop(self) -> None:
        """Start nothing more; what is under way ends between two requests with Closing."""
        self._starter.stop()

    def get_or_start(self, instance: Instance, wait: Wait) -> RunningInstance:
        """The instance, ready; StartError otherwise, the same in every process. `wait` gives what it needs."""
        try:
            domain = self._domains.of(instance.key.place)
            if instance.spec.external:
                return self._attach_external(instance, instance.spec.external)
            if domain.board is None:
                return self._starter.start(instance, domain, wait)
            code = instance_hash(instance.key)
            with domain.board.claim(code, self._starter.raise_if_closing):
                kept = None
                # Another run may use what is kept at the same time, and would lose its data with a reset of ours.
                if self._domains.kept and not instance.spec.reset and not domain.board.was_started(code):
                    kept = self._provide_kept(instance, self._domains.kept, domain.board, wait)
                return kept or self._start_or_adopt(instance, domain, domain.board, code, wait)
        except EngineError as error:
            raise self._named(instance, error) from error

    def expect(self, tests: Sequence[tuple[str, Sequence[Instance]]]) -> None:
        """The test that runs now and those that come next, each with what it needs: in this order there is room."""
        self._budget.expect(tests)

    def hold_data(self, running: RunningInstance) -> None:
        """Before a container is stopped or killed: what it keeps in memory stays."""
        self._memory.hold(running)

    def start_again(self, running: RunningInstance) -> None:
        """Start a container that was stopped, and return when it is ready."""
        self._memory.check(running)
        started_at = self._clock.time()
        self._engine.start_container(running.container_id)
        self._memory.release(running)
        self._watcher.wait_until_ready(running, started_at, self._starter.raise_if_closing, is_first=False)
        self._on_restart(running)

    def faults_of(self, running: RunningInstance) -> Faults:
        """The faults that it can be given; what is made for them goes with this run, also where the service is kept."""
        target = Target(
            service=running.spec.name,
            engine=self._engine,
            container_id=running.container_id,
            image=image_tag(running.spec),
            labels=self._run.labels(),
            name_helper=lambda word: self._run.resource_name(running.spec.name, "fault", word),
        )
        return Faults(target, lambda: self.hold_data(running), lambda: self.start_again(running))

    def release(self, running: RunningInstance) -> None:
        """Remove an instance whose place has ended, and give its part of the budget back."""
        self._before_removal(running)
        self._launcher.remove(running)
        self._budget.release(running.instance)

    def discard(self, running: RunningInstance) -> None:
        """Remove an instance that nobody may use any more; asked for again, it is started anew."""
        if running.domain.board:
            running.domain.board.withdraw(instance_hash(running.instance.key))
        self._retained.give_up(running)
        self.release(running)

    def _attach_external(self, instance: Instance, used: ExternalService) -> RunningInstance:
        """What runs already: each process sees for itself whether it answers, and makes copies of its own there."""
        image, endpoints = ImageFacts(image_id=""), endpoints_of(instance.spec, used)
        assert not isinstance(instance.spec.password, Secret)
        view, _ = build_view(instance.spec, instance.spec.password, {}, endpoints)
        running = RunningInstance(
            instance=instance,
            domain=self._domains.private,
            image=image,
            container_id="",
            network_id="",
            fingerprint=full_fingerprint(instance, image, {}),
            view=view,
            ports=HeldPorts(host="", by_inner={}),
            started_at=self._clock.time(),
            secrets=collect_secrets(view, {}),
        )
        with self._timeline.measure("used", str(instance.key.service)):
            wait_until_it_answers(running, self._engine, self._run, self._clock, self._starter.raise_if_closing)
        running = self._client_containers.attach(running)
        self._save_pristine(running)
        return running

    def _provide_kept(self, instance: Instance, domain: KeptDomain, board: Board, wait: Wait) -> RunningInstance | None:
        """The instance that is kept, or is from now on; None where the run has to have one of its own.

        Only the full fingerprint proves that yesterday's instance is what today's declaration asks for.
        """
        try:
            image, needed = self._starter.find_image(instance), self._starter.wait_for_needed(instance, wait)
            if not all(running.domain.is_kept for running in needed.values()):
                return None
            snapshot = self._starter.identify(instance, image)
            # With and without snapshots its password differs.
            code = full_fingerprint(instance, image, needed) + (snapshot.digest[:8] if snapshot else "")
            # Used for another variation, it would have to be attached to networks that come before its own.
            code += _variation_code(instance)
            with domain.reuse_store.board.claim(code, self._starter.raise_if_closing):
                service, owner = _service_key(instance), self._run.owner
                if not domain.reuse_store.evict_other_versions(
                    service, code, owner, read_start_time, self._remove_older
                ):
                    with self._timeline.measure("beside kept", str(instance.key.service)):
                        return None
                running = self._start_or_adopt(instance, domain, domain.reuse_store.board, code, wait)
                self.kept_codes.add(code)
                return running
        except (StartError, EngineError) as error:
            raise self._publish_failure(instance, instance_hash(instance.key), board, error) from error

    def _start_or_adopt(
        self, instance: Instance, domain: SharingDomain, board: Board, code: str, wait: Wait
    ) -> RunningInstance:
        """With the instance's lock held: adopt what is published, or start and publish it."""
        record = board.read(code)
        adopted = self._adopt(instance, domain, record, wait) if record else None
        if adopted:
            return adopted
        if board.was_started(code):
            self._launcher.remove_partial(instance, domain, code)
        board.mark_started(code)
        try:
            running = self._starter.start(instance, domain, wait, code)
        except (StartError, EngineError) as error:
            if domain.is_kept:
                raise
            raise self._publish_failure(instance, code, board, error) from error
        board.publish(code, {**_record(running), "code": code, "service": _service_key(instance)})
        return running

    def _publish_failure(
        self, instance: Instance, code: str, board: Board, error: StartError | EngineError
    ) -> StartError:
        """The error that every process of the run raises for this instance: it is started once, not by each anew."""
        named = error if isinstance(error, StartError) else self._named(instance, error)
        board.mark_started(code)
        board.publish(code, {"service": named.service, "error": str(named)})
        return named

    def _remove_older(self, record: Mapping[str, Any]) -> None:
        """Remove an older version of a kept service: on one network both would answer to its name."""
        self._engine.remove_container(record["container"])
        for volume in record["volumes"]:
            self._engine.remove_volume(volume)

    def _adopt(
        self, instance: Instance, domain: SharingDomain, record: Mapping[str, Any], wait: Wait
    ) -> RunningInstance | None:
        """The instance that another process has published; None where it cannot be used any more."""
        if "error" in record:
            raise SharedStartError(record["service"], record["error"])
        if domain.is_kept and not self._still_serves(instance, record["container"]):
            return None
        needed = self._starter.wait_for_needed(instance, wait)
        self._budget.acquire(instance, self._starter.raise_if_closing)
        endpoints = {int(inner): Endpoint(host, port) for inner, (host, port) in record["endpoints"].items()}
        image = ImageFacts(image_id=record["image"], health_command=tuple(record["health"]))
        password = choose_password(instance, domain, self._starter.identify(instance, image))
        view, _ = build_view(instance.spec, password, needed, endpoints)
        running = RunningInstance(
            instance=instance,
            domain=domain,
            image=image,
            container_id=record["container"],
            network_id=record["network"],
            volumes=tuple(record["volumes"]),
            fingerprint=record["fingerprint"],
            view=view,
            ports=HeldPorts(host="", by_inner={}),
            started_at=record["started_at"],
            memory_folders=record.get("memory_folders", {}),
            secrets=collect_secrets(view, needed),
        )
        if domain.is_kept:
            with self._timeline.measure("reused", str(instance.key.service)):
                self._watcher.wait_until_ready(
                    running, running.started_at, self._starter.raise_if_closing, is_first=False
                )
        return running

    def _still_serves(self, instance: Instance, container_id: str) -> bool:
        try:
            state = self._engine.inspect_container(container_id)
            if Ended() in instance.spec.ready:
                return state.exit_code == 0
            # A run that was killed may have left it paused.
            return state.is_running and not state.is_paused
        except EngineError:
            return False

    def _named(self, instance: Instance, error: EngineError) -> StartError:
        """An engine's error, told with the service's name and place."""
        return StartError(
            describe_instance(instance, self._run),
            f"could not be started: {error.what}",
            tried=error.tried,
            found=error.found,
            do=[
                *([error.do] if isinstance(error.do, str) and error.do else error.do),
                f"it is declared at {instance.spec.location}",
            ],
        )


class SharedStartError(StartError):
    """A start that failed in another process; the text is the one that was raised there."""

    def __init__(self, service: str, text: str) -> None:
        self.service = service
        IsolateError.__init__(self, text)


def _service_key(instance: Instance) -> str:
    service = instance.key.service
    # Alternatives are kept side by side; only a newer version of the same one takes the place of an older one.
    return f"{service.stack.namespace} {service}{describe_variation(instance.key.variation)}"


def _variation_code(instance: Instance) -> str:
    text = describe_variation(instance.key.variation)
    return hashlib.sha256(text.encode()).hexdigest()[:8] if text else ""


def _record(running: RunningInstance) -> dict[str, Any]:
    """What other processes need to know of an instance; its password is not in it, they derive it."""
    return {
        "container": running.container_id,
        "network": running.network_id,
        "volumes": list(running.volumes),
        "memory_folders": dict(running.memory_folders),
        "image": running.image.image_id,
        "health": list(running.image.health_command),
        "fingerprint": running.fingerprint,
        "endpoints": {str(inner): [e.host, e.port] for inner, e in running.view.endpoints.items()},
        "started_at": running.started_at,
        "used": running.started_at,
    }
