"""One container, from a request to started: network, ports, volumes, files, limits."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from itertools import count

from msgspec.structs import replace

from pytest_isolate.engine.api import Capability, ContainerRequest, PortBinding, require
from pytest_isolate.errors import EngineError, IsolateError, PortTaken
from pytest_isolate.model.endpoint import Endpoint, Port, split_port
from pytest_isolate.model.identity import LABEL_INSTANCE, LABEL_RUN
from pytest_isolate.model.service import (
    OF_SERVICE,
    ContainerSettings,
    Pairs,
    Unlimited,
)
from pytest_isolate.planning.placement import Instance, InstanceKey, NetworkKey
from pytest_isolate.running.containers.baked import find_hidden, find_server_data, use_data
from pytest_isolate.running.containers.contents import Contents, Mounts
from pytest_isolate.running.containers.output import Outputs
from pytest_isolate.running.containers.running import (
    RunningInstance,
    StartRequest,
    build_view,
    choose_password,
    collect_secrets,
    describe_instance,
    full_fingerprint,
    network_aliases,
)
from pytest_isolate.running.containers.security import capabilities, memory_folders, memory_limit
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.images.paths import ImagePathReader
from pytest_isolate.running.network.addresses import Addresses
from pytest_isolate.running.network.networks import Networks
from pytest_isolate.running.network.ports import HeldPorts
from pytest_isolate.running.network.volumes import Volumes
from pytest_isolate.running.ownership.domains import SharingDomain
from pytest_isolate.sharing.board import Board

# Another process may take a port between our picking it and the engine's publishing it: rare, and a new one is free.
_PORT_TRIES = 5
HOST_GATEWAY = "host-gateway"
"""Stands for the engine's host in a container's table of names (Docker 20.10)."""


class Launcher:
    """Makes and starts containers on their networks."""

    def __init__(
        self,
        context: RunContext,
        networks: Networks,
        addresses: Addresses,
        volumes: Volumes,
        outputs: Outputs,
        in_memory_bytes: int = 0,
        copied: Container[InstanceKey] = (),
        notes: Board | None = None,
    ) -> None:
        self._engine = context.engine
        self._run = context.run
        self._time = context.clock.time
        self._note = context.timeline.note
        self._networks = networks
        self._addresses = addresses
        self._volumes = volumes
        self._outputs = outputs
        self._paths = ImagePathReader(context.engine, context.run, notes)
        self._contents = Contents(context.engine, context.run, volumes, self._paths)
        self._in_memory_bytes = in_memory_bytes
        self._copied = copied
        self._numbers = count(1)

    def preparing_network(
        self, instance: Instance, domain: SharingDomain, raise_if_closing: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Make the network of an instance during the block."""
        return self._networks.preparing(instance, domain, raise_if_closing)

    def make_networks_ahead(
        self, instances: Iterable[Instance], domain: SharingDomain, raise_if_closing: Callable[[], None]
    ) -> None:
        """Make the networks that instances of later tests will take."""
        self._networks.make_ahead(instances, domain, raise_if_closing)

    def join_network(self, start: StartRequest, raise_if_closing: Callable[[], None]) -> str:
        """Return the id of the instance's network; what it needs is attached there under its names."""
        network_id = self._networks.ensure(start.instance, start.domain, raise_if_closing)
        for alias, running in start.needed.items():
            if running.network_id != network_id and not running.spec.external:
                self._networks.attach(network_id, running.container_id, [alias, *running.spec.container.aliases])
        return network_id

    def launch(self, start: StartRequest, network_id: str) -> RunningInstance:
        """Return a started container; on other ports where another process has taken the first ones."""
        for attempt in range(1, _PORT_TRIES + 1):
            label = describe_instance(start.instance, self._run)
            ports = self._addresses.hold(start.instance, label, start.domain.run.labels())
            try:
                return self._launch_on(ports, start, network_id)
            except PortTaken:
                _end_quietly(ports)
                if attempt == _PORT_TRIES or start.instance.native_ports:
                    raise
            except BaseException:
                _end_quietly(ports)
                raise
        raise AssertionError("unreachable")

    def remove(self, running: RunningInstance) -> None:
        """Remove the container and let go of its ports. What cannot be removed is left to the clean-up at the end."""
        self._outputs.drop(running.container_id)
        self._remove_quietly(running.container_id)
        _end_quietly(running.ports)

    def remove_partial(self, instance: Instance, domain: SharingDomain, code: str) -> None:
        """Remove what a dead process has left or what does not run any more, but no volume that is in use elsewhere."""
        for container_id in self._engine.list_containers({LABEL_RUN: domain.run.run_id, LABEL_INSTANCE: code}):
            self._engine.remove_container(container_id)
        self._volumes.remove_unused(instance, domain, code)

    def forget_network(self, key: NetworkKey, *, is_left: bool) -> Callable[[], None]:
        """Let the next one who asks get another network, volumes and address; what is returned removes these."""
        removals = (self._networks.forget(key), self._volumes.forget(key))
        if is_left:
            return lambda: None  # a container is left there, so they stay
        self._addresses.release(key)

        def remove() -> None:
            for removal in removals:
                with suppress(EngineError):  # the clean-up at the end finds it by its labels, tries again and reports
                    removal()

        return remove

    def close(self) -> None:
        """Let go of all addresses. Call it when the containers are gone."""
        self._addresses.close()

    def _launch_on(self, ports: HeldPorts, start: StartRequest, network_id: str) -> RunningInstance:
        password = choose_password(start.instance, start.domain, start.snapshot)
        view = build_view(start.instance.spec, password, start.needed, _endpoints(ports))
        digest = full_fingerprint(start.instance, start.image, start.needed, is_kept=start.domain.is_kept)
        mounts = self._contents.prepare(start, view)
        request = self._build_request(start, view, network_id, ports, digest, mounts)
        container_id = self._engine.create_container(request)
        try:
            with_data = self._find_baked(start, container_id)
            if with_data:
                self._remove_quietly(container_id)
                return self._launch_on(ports, with_data, network_id)
            self._contents.copy(container_id, request, start.domain, mounts)
            self._outputs.listen(container_id, start.instance.spec)
            started_at = self._time()
            self._engine.start_container(container_id)
            if self._addresses.complete(ports, self._engine, container_id):
                view = replace(view, endpoints=_endpoints(ports))
        except BaseException:
            self._outputs.drop(container_id)
            self._remove_quietly(container_id)
            raise
        return RunningInstance(
            instance=start.instance,
            domain=start.domain,
            image=start.image,
            container_id=container_id,
            network_id=network_id,
            volumes=tuple(request.volumes),
            memory_folders=request.memory_folders,
            fingerprint=digest,
            view=view,
            ports=ports,
            started_at=started_at,
            secrets=collect_secrets(view, start.needed),
        )

    def _find_baked(self, start: StartRequest, container_id: str) -> StartRequest | None:
        """Return the same start with the data that the image brings along; None where it brings none."""
        spec = start.instance.spec
        is_new = not start.starts_from_snapshot
        folder = find_server_data(self._paths, spec, start.image, container_id) if is_new else ""
        if not folder:
            return None
        self._note(
            f"service {describe_instance(start.instance, self._run)} uses the data that its image has in {folder}, and "
            "no new database: user, password and database are those of that data, so tell them to tests with user=, "
            f"password= and database= ({spec.location})"
        )
        return replace(start, instance=replace(start.instance, spec=use_data(spec, folder)))

    def _choose_memory_folders(self, start: StartRequest, *, is_copied: bool) -> dict[str, int]:
        spec = start.instance.spec
        folders = memory_folders(
            spec, self._in_memory_bytes, starts_from_snapshot=start.starts_from_snapshot, is_copied=is_copied
        )
        if start.starts_from_snapshot:
            return folders
        hidden = find_hidden(self._paths, folders, start.image, _image_name(start))
        for folder in sorted(hidden):
            self._note(
                f"service {describe_instance(start.instance, self._run)} keeps {folder} on disk, for its image has "
                f"data there that in_memory= would hide; leave that key out ({spec.location})"
            )
        return {folder: size for folder, size in folders.items() if folder not in hidden}

    def _build_request(
        self,
        start: StartRequest,
        view: ServiceView,
        network_id: str,
        ports: HeldPorts,
        digest: str,
        mounts: Mounts,
    ) -> ContainerRequest:
        instance, spec, run = start.instance, start.instance.spec, start.domain.run
        # A later run may ask for copies of what is kept.
        is_copied = start.domain.is_kept or instance.key in self._copied
        number = f"{next(self._numbers)}{self._run.worker}"
        return ContainerRequest(
            name=run.resource_name(instance.key.service.stack.name, spec.name, secrets.token_hex(2), number),
            image=_image_name(start),
            labels=run.container_labels(instance.key.service, digest, start.code, instance.key.alternatives),
            command=view.command,
            entrypoint=view.entrypoint,
            env=view.env,
            ports=() if spec.container.network else _bindings(ports, self._addresses.publish_on(ports)),
            network="" if self._has_other_network(start) else network_id,
            aliases=network_aliases(spec),
            address_id=ports.address_id,
            joined=_container_named(spec.container.network, start),
            volumes=mounts.first_places,
            memory_folders=self._choose_memory_folders(start, is_copied=is_copied),
            memory_bytes=memory_limit(spec),
            shm_bytes=spec.shm_bytes,
            cpus=spec.cpus,
            pids=None if isinstance(spec.pids, Unlimited) else spec.pids,
            cap_drop=("ALL",),
            cap_add=capabilities(spec),
            no_new_privileges=not spec.new_privileges,
            folders=mounts.layout.folders,
            settings=_settings(start, self._extra_hosts(start), mounts),
        )

    def _has_other_network(self, start: StartRequest) -> bool:
        network = start.instance.spec.container.network
        if network == "host":
            what = f"service {describe_instance(start.instance, self._run)} cannot have the network of the host"
            require(self._engine.facts(), Capability.HOST_NETWORK, what, "leave out container.network")
        return bool(network)

    def _extra_hosts(self, start: StartRequest) -> Pairs:
        hosts = (*start.instance.spec.container.extra_hosts, *hosts_of(start.needed))
        if hosts:
            what = f"service {describe_instance(start.instance, self._run)} cannot know {', '.join(dict(hosts))}"
            way_out = "give it the address itself, for instance in env=, or a name that its DNS server knows"
            require(self._engine.facts(), Capability.EXTRA_HOSTS, what, way_out)
        return hosts

    def _remove_quietly(self, container_id: str) -> None:
        with suppress(IsolateError):  # the clean-up at the end finds it by its labels, tries again and reports
            self._engine.remove_container(container_id)


def _end_quietly(ports: HeldPorts) -> None:
    with suppress(EngineError):  # an address that the engine has made for it goes with the run at the latest
        ports.end()


def _settings(start: StartRequest, extra_hosts: Pairs, mounts: Mounts) -> ContainerSettings:
    """The settings with names of services filled in, and what is mounted besides the volumes' first places."""
    settings = start.instance.spec.container
    shared = {name: _container_named(value, start) for name, value in settings.namespaces}
    return replace(
        settings,
        binds=(*mounts.layout.binds, *mounts.further_places),
        tmpfs=mounts.layout.tmpfs,
        namespaces=tuple((n, f"container:{shared[n]}" if shared[n] else value) for n, value in settings.namespaces),
        # The engine refuses names of hosts for a container that has the network of another one.
        extra_hosts=() if settings.network.startswith(OF_SERVICE) else extra_hosts,
    )


def _endpoints(ports: HeldPorts) -> dict[Port, Endpoint]:
    return {inner: Endpoint(ports.host, outer) for inner, outer in ports.by_inner.items()}


def _bindings(ports: HeldPorts, publish_on: str) -> tuple[PortBinding, ...]:
    split = ((*split_port(inner), outer) for inner, outer in ports.by_inner.items())
    return tuple(PortBinding(inner=n, protocol=kind, host_ip=publish_on, host_port=outer) for n, kind, outer in split)


def _container_named(text: str, start: StartRequest) -> str:
    """The id of the container of a service that is needed (`service:NAME`); empty for anything else."""
    return start.needed[text.removeprefix(OF_SERVICE)].container_id if text.startswith(OF_SERVICE) else ""


def _image_name(start: StartRequest) -> str:
    # Two platforms cannot share one tag.
    has_platform = start.instance.spec.platform and not start.starts_from_snapshot
    return start.image.image_id if has_platform else start.tag


def hosts_of(needed: Mapping[str, RunningInstance]) -> Pairs:
    """Names that a container has to know, with their addresses: of services that are not on its network."""
    hosts: dict[str, str] = {}
    for alias, running in needed.items():
        used = running.spec.external
        if used is None:
            continue
        address = HOST_GATEWAY if used.is_loopback else _resolve(used.host)
        hosts |= dict.fromkeys([alias, *running.spec.container.aliases], address)
        if not used.is_loopback and not _is_address(used.host):
            # Whatever finds it here, such as a table of names in CI, a container does not have.
            hosts[used.host] = address
    return tuple(hosts.items())


def _resolve(host: str) -> str:
    """Return the address that tests reach a host at, IPv4 first."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = sorted({(family != socket.AF_INET, str(place[0])) for family, _, _, _, place in found})
    return addresses[0][1]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
