"""Containers with the clients for servers that run already: psql, for instance, in a container of the same image."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from msgspec.structs import replace

from pytest_isolate.engine.api import Capability, ContainerRequest, Engine, require
from pytest_isolate.errors import StartError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.service import MIB, ContainerSettings
from pytest_isolate.planning.placement import InstanceKey
from pytest_isolate.running.containers.launcher import hosts_of
from pytest_isolate.running.containers.running import RunningInstance, describe_instance
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.images.images import Images, image_tag

_MEMORY_BYTES = 256 * MIB


class ClientContainers:
    """Makes one for each server whose data is copied, in each process of the run; they go with the run's containers."""

    def __init__(
        self,
        context: RunContext,
        images: Images,
        is_copied: Callable[[InstanceKey], bool],
        require_guard: Callable[[], None],
    ) -> None:
        self._engine = context.engine
        self._run = context.run
        self._images = images
        self._is_copied = is_copied
        self._require_guard = require_guard

    def attach(self, running: RunningInstance) -> RunningInstance:
        """Return the instance, with a container for its clients where tests will ask for copies."""
        if not self._is_copied(running.instance.key):
            return running
        check_same_host(running, self._engine, self._run)
        require(
            self._engine.facts(),
            Capability.HOST_NETWORK,
            f"service {running.spec.name!r} runs already, and cannot be copied from here",
            "its clients would run on the network of the engine's host: leave out what gives it, to have it started",
        )
        self._images.ensure(running.spec)
        self._require_guard()
        request = ContainerRequest(
            name=self._run.resource_name(running.spec.name, "clients", secrets.token_hex(4)),
            image=image_tag(running.spec),
            labels=self._run.labels(),
            entrypoint=("sleep",),
            command=("infinity",),
            # Whatever address tests find it at, 127.0.0.1 included, is the same there.
            network="host",
            settings=ContainerSettings(extra_hosts=hosts_of({running.spec.name: running})),
            memory_bytes=_MEMORY_BYTES,
            cap_drop=("ALL",),
        )
        container_id = self._engine.create_container(request)
        self._engine.start_container(container_id)
        return replace(running, container_id=container_id)


def check_same_host(running: RunningInstance, engine: Engine, run: Run) -> None:
    """StartError for a server on this host's loopback whose clients would run on another one."""
    facts, used = engine.facts(), running.spec.external
    if used and used.is_loopback and not (facts.is_local and facts.shares_kernel):
        where = "in a virtual machine" if facts.is_forwarded else "on another one"
        raise StartError(
            describe_instance(running.instance, run),
            "cannot be copied from here: the clients that do it run where the engine is",
            tried=f"{used.endpoint.address}, an address of this host",
            found=f"the engine at {facts.address} is {where}, with a loopback of its own",
            do="give it by an address that the engine's host reaches",
        )
