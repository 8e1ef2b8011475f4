"""Containers on a Docker engine, from created to inspected; removing them is engine.docker.remover's."""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from pytest_isolate.engine.api import (
    ContainerRequest,
    ContainerState,
    ContainerUsage,
    PathFacts,
    PathOwner,
    PublishAddress,
    UsageCounters,
)
from pytest_isolate.engine.docker import cgroups
from pytest_isolate.engine.docker.host import HERE, Machine, ask_machine, find_publish_address, shares_kernel
from pytest_isolate.engine.docker.remover import Remover
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.docker.wire import (
    container_body,
    container_state,
    container_usage,
    dropped_limits,
    path_facts,
    path_owner,
)
from pytest_isolate.errors import EngineError, ObjectNotFound

_REQUEST_TIMEOUT_S = 60


class ContainerApi(Remover):
    """The part of the engine that makes containers, and asks what became of them."""

    def __init__(self, client: Http) -> None:
        super().__init__(client)
        self._dropped: set[str] = set()

    @cached_property
    def _reach(self) -> PublishAddress:
        what = "the container around this process could not be inspected"
        return find_publish_address(
            self._http.address,
            lambda own_id: self._http.ask(what, "GET", f"/containers/{quote(own_id)}/json").json(),
            is_same_kernel=shares_kernel(self._http.version()),
        )

    @cached_property
    def _machine(self) -> Machine:
        """Asked for where it may be another one. All moments that this class takes and tells are this machine's."""
        if self._reach.can_hold_ports:
            return HERE
        return ask_machine(lambda: self._http.ask("the engine did not tell of itself", "GET", "/info").json())

    def create_container(self, request: ContainerRequest) -> str:
        what, query = f"container {request.name} could not be made", {"name": request.name}
        made = self._http.ask(what, "POST", "/containers/create", query=query, body=container_body(request)).json()
        # Docker says whether a limit was dropped; of an engine that does not say so, the container is looked at.
        if any("discarded" in text for text in made.get("Warnings") or ()) or self._dialect().drops_silently:
            self._dropped |= dropped_limits(request, self._inspect(made["Id"]))
        return str(made["Id"])

    def dropped_limits(self) -> Collection[str]:
        return self._dropped

    def save_archive(self, container_id: str, path: str, file: Path, most_bytes: int) -> bool:
        what = f"{path} could not be copied out of a container"
        return self._http.save(what, f"/containers/{quote(container_id)}/archive", {"path": path}, file, most_bytes)

    def copy_into(self, container_id: str, archive: bytes | Iterable[bytes], folder: str = "/") -> None:
        what, path = "files could not be copied into a container", f"/containers/{quote(container_id)}/archive"
        self._http.ask(what, "PUT", path, query={"path": folder}, archive=archive)

    def find_path(self, container_id: str, path: str) -> PathFacts | None:
        what, target = f"{path} could not be looked at in a container", f"/containers/{quote(container_id)}/archive"
        try:
            told = self._http.head(what, target, {"path": path})
        except ObjectNotFound:
            return None
        return path_facts(path, told.get("X-Docker-Container-Path-Stat", ""))

    def read_owner(self, container_id: str, path: str) -> PathOwner:
        what, target = f"{path} could not be looked at in a container", f"/containers/{quote(container_id)}/archive"
        return path_owner(self._http.read_first(what, target, {"path": path}, tarfile.BLOCKSIZE))

    def start_container(self, container_id: str) -> None:
        try:
            self._tell(container_id, "start", "started")
        except EngineError as error:
            # Podman 4.3 looks for the process once more, and fails where it has ended by then.
            if "no such process" not in str(error) or not self.inspect_container(container_id).started_at:
                raise

    def stop_container(self, container_id: str, timeout_s: int) -> None:
        what, path = "a container could not be stopped", f"/containers/{quote(container_id)}/stop"
        self._http.ask(what, "POST", path, query={"t": timeout_s}, timeout_s=_REQUEST_TIMEOUT_S + timeout_s)

    def kill_container(self, container_id: str) -> None:
        try:
            self._tell(container_id, "kill", "killed")
        except EngineError:
            if self.inspect_container(container_id).is_running:
                raise

    def pause_container(self, container_id: str) -> None:
        self._tell(container_id, "pause", "paused")

    def unpause_container(self, container_id: str) -> None:
        self._tell(container_id, "unpause", "unpaused")

    def inspect_container(self, container_id: str) -> ContainerState:
        state = container_state(self._inspect(container_id))
        ahead_s = self._machine.clock_offset_s
        # Zero means never.
        started_at, ended_at = (at and at - ahead_s for at in (state.started_at, state.ended_at))
        return replace(state, started_at=started_at, ended_at=ended_at) if ahead_s else state

    def _inspect(self, container_id: str) -> Any:
        what = "a container could not be inspected"
        return self._http.ask(what, "GET", f"/containers/{quote(container_id)}/json").json()

    def read_usage(self, container_id: str) -> ContainerUsage | None:
        seen = cgroups.count(container_id)
        if seen:
            return ContainerUsage(memory_bytes=max(0, seen.memory_bytes - seen.idle_bytes), cpu_s=seen.cpu_s)
        what, path = "a container's usage could not be read", f"/containers/{quote(container_id)}/stats"
        # "One shot": the engine does not wait for a second look, which takes it a second.
        query = {"stream": "false", "one-shot": "true"}
        told = self._http.ask(what, "GET", path, query=query)
        # Podman says nothing at all of one that has ended.
        return container_usage(told.json()) if told.content else None

    def read_counters(self, container_id: str) -> UsageCounters | None:
        return cgroups.count(container_id)

    def read_connections(self, container_id: str) -> str | None:
        return cgroups.read_connections(container_id)

    def _tell(self, container_id: str, verb: str, done: str) -> None:
        self._http.ask(f"a container could not be {done}", "POST", f"/containers/{quote(container_id)}/{verb}")
