"""The agreement of all processes on who starts an instance: one claims and starts it, the others find it published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from pytest_isolate.engine.api import ImageFacts
from pytest_isolate.errors import EngineError, IsolateError, PathError, StartError
from pytest_isolate.model.endpoint import Endpoint, Port
from pytest_isolate.model.probes import Ended
from pytest_isolate.model.service import describe_variation
from pytest_isolate.planning.placement import Instance
from pytest_isolate.running.containers.launcher import Launcher
from pytest_isolate.running.containers.running import (
    RunningInstance,
    build_view,
    choose_password,
    collect_secrets,
    instance_hash,
    name_error,
)
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.images.snapshots import Snapshot
from pytest_isolate.running.instances.budget import StartGate
from pytest_isolate.running.ownership.domains import KeptDomain, SharingDomain, SharingDomains
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.owners import read_start_time


class Claim(Struct, frozen=True, kw_only=True):
    """The right of one process to start an instance, known by `code` on its board; `record` tells of one that runs."""

    instance: Instance
    domain: SharingDomain
    code: str
    record: Mapping[str, Any] | None = None


class SharedStartError(StartError):
    """A start that failed in another process; the text is the one that was raised there."""

    def __init__(self, service: str, text: str) -> None:
        self.service = service
        IsolateError.__init__(self, text)


class Agreement:
    """Claims instances, and publishes what became of them: in this process alone, in the run, or for later runs."""

    def __init__(self, context: RunContext, domains: SharingDomains, launcher: Launcher, gate: StartGate) -> None:
        self._context = context
        self._domains = domains
        self._launcher = launcher
        self._gate = gate
        self.private = domains.private
        self.kept_codes: set[str] = set()
        """The kept instances that this process has used."""

    @contextmanager
    def claim(self, instance: Instance, find_reuse_code: Callable[[], str | None]) -> Iterator[Claim]:
        """Hold the right to start an instance; waits while another process has it.

        `find_reuse_code` returns what the instance is known by to later runs, None where it cannot be kept for them.
        """
        domain, code = self._domains.of(instance.key.place), instance_hash(instance.key)
        if domain.board is None:
            yield Claim(instance=instance, domain=domain, code=code)
            return
        with domain.board.claim(code, self._gate.raise_if_closing):
            # Another run may use what is kept at the same time, and would lose its data with a reset of ours.
            if self._domains.kept and not instance.spec.reset and not domain.board.was_started(code):
                # The run's other processes must not try what has failed here, though it would be kept.
                with (
                    self._failure_published(instance, domain.board, code),
                    self._claim_kept(instance, self._domains.kept, find_reuse_code) as kept,
                ):
                    if kept:
                        yield kept
                        return
            yield self._read(instance, domain, code)

    @contextmanager
    def starting(self, claim: Claim) -> Iterator[None]:
        """Remove what a dead process has left of the instance; publish the error where the start in the block fails."""
        domain, code = claim.domain, claim.code
        if domain.board is None:
            yield
            return
        if domain.board.was_started(code):
            self._launcher.remove_partial(claim.instance, domain, code)
        domain.board.mark_started(code)
        if domain.is_kept:
            yield  # a later run tries again
            return
        with self._failure_published(claim.instance, domain.board, code):
            yield

    def publish(self, claim: Claim, running: RunningInstance) -> None:
        """Let the other processes find an instance that is ready."""
        if claim.domain.board:
            names = {"code": claim.code, "service": _service_key(claim.instance)}
            claim.domain.board.publish(claim.code, {**_write_record(running), **names})

    @contextmanager
    def _claim_kept(
        self, instance: Instance, domain: KeptDomain, find_reuse_code: Callable[[], str | None]
    ) -> Iterator[Claim | None]:
        """Hold the right to start an instance that is kept; None where the run has to have one of its own."""
        code = find_reuse_code()
        if code is None:
            yield None
            return
        store, service, owner = domain.reuse_store, _service_key(instance), self._context.run.owner
        with store.board.claim(code, self._gate.raise_if_closing):
            if store.evict_other_versions(service, code, owner, read_start_time, self._remove_older):
                yield self._read(instance, domain, code)
                self.kept_codes.add(code)
                return
            with self._context.measure("beside kept", instance):
                yield None

    def _read(self, instance: Instance, domain: SharingDomain, code: str) -> Claim:
        assert domain.board
        record = domain.board.read(code)
        if record and "error" in record:
            raise SharedStartError(record["service"], record["error"])
        if record and domain.is_kept and not self._still_serves(instance, record["container"]):
            record = None
        return Claim(instance=instance, domain=domain, code=code, record=record)

    @contextmanager
    def _failure_published(self, instance: Instance, board: Board, code: str) -> Iterator[None]:
        """Have every process of the run raise the error of the block: it is started once, not by each anew."""
        try:
            yield
        except (StartError, EngineError, PathError) as error:
            named = name_error(instance, self._context.run, error)
            board.mark_started(code)
            board.publish(code, {"service": named.service, "error": str(named)})
            if named is error:
                raise
            raise named from error

    def _remove_older(self, record: Mapping[str, Any]) -> None:
        # On one network both versions would answer to the service's name.
        self._context.engine.remove_container(record["container"])
        for volume in record["volumes"]:
            self._context.engine.remove_volume(volume)

    def _still_serves(self, instance: Instance, container_id: str) -> bool:
        try:
            state = self._context.engine.inspect_container(container_id)
            if Ended() in instance.spec.ready or (instance.spec.may_end and not state.is_running):
                return state.exit_code == 0
            # A run that was killed may have left it paused.
            return state.is_running and not state.is_paused
        except EngineError:
            return False


def read_record(
    claim: Claim, needed: Mapping[str, RunningInstance], find_snapshot: Callable[[ImageFacts], Snapshot | None]
) -> RunningInstance:
    """Return a published instance as this process sees it; its password may be that of a snapshot."""
    record, instance = claim.record, claim.instance
    assert record is not None
    image = ImageFacts(image_id=record["image"], health_command=tuple(record["health"]))
    endpoints: dict[Port, Endpoint] = {
        int(inner) if inner.isdecimal() else inner: Endpoint(host, port)
        for inner, (host, port) in record["endpoints"].items()
    }
    password = choose_password(instance, claim.domain, find_snapshot(image))
    view = build_view(instance.spec, password, needed, endpoints)
    return RunningInstance(
        instance=instance,
        domain=claim.domain,
        image=image,
        container_id=record["container"],
        network_id=record["network"],
        volumes=tuple(record["volumes"]),
        memory_folders=record.get("memory_folders", {}),
        fingerprint=record["fingerprint"],
        view=view,
        started_at=record["started_at"],
        secrets=collect_secrets(view, needed),
    )


def _write_record(running: RunningInstance) -> dict[str, Any]:
    """Return what other processes need to know of an instance; its password is not in it, they derive it."""
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


def _service_key(instance: Instance) -> str:
    service = instance.key.service
    # Alternatives are kept side by side; only a newer version of the same one takes the place of an older one.
    return f"{service.stack.namespace} {service}{describe_variation(instance.key.variation)}"
