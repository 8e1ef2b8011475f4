"""Check of a plan against its engine: what that cannot do is refused by name, before anything is started. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.declarations.references import early_addresses
from pytest_isolate.engine.api import Capability, CheckingRequests, ContainerRequest, EngineFacts
from pytest_isolate.errors import PlanError
from pytest_isolate.model.service import OF_SERVICE, ServiceSpec, is_host_path
from pytest_isolate.planning.placement import Instance, NetworkKey


class _Need(Struct, frozen=True):
    """A key of a service, the ability that it asks for, and the way out where an engine has not got that."""

    key: str
    capability: Capability
    do: str


_OTHER_ENGINE = "leave it out, or run these tests on Docker"
_EARLY = "leave it out, or have the right to make Services: `pytest-isolate kubernetes role` prints the Role to apply"
_BUILD_ELSEWHERE = "build it elsewhere, push it to a registry, and declare image= in place of build="


def check_engine(instances: Iterable[Instance], facts: EngineFacts, checking: CheckingRequests | None = None) -> None:
    """Raise PlanError for everything in these instances that the engine cannot do."""
    instances = [instance for instance in instances if not instance.spec.external]
    refused: dict[str, None] = {}
    ways_out: dict[str, None] = {}
    for instance in instances:
        where = f"service '{instance.key.service}' ({instance.spec.location})"
        for need in _needs(instance.spec):
            if need.capability not in facts.capabilities:
                refused[f"{where}: {need.key}: it cannot {need.capability.value}"] = None
                ways_out[need.do] = None
        for reason, way_out in checking.find_refusals(_as_request(instance.spec)) if checking else ():
            refused[f"{where}: {reason}"] = None
            ways_out[way_out] = None
    if Capability.SHARED_VOLUMES not in facts.capabilities:
        for first, other, name in volumes_of_two(instances):
            both = f"'{first.key.service}' and '{other.key.service}'"
            refused[f"services {both}: volume {name!r}: it cannot {Capability.SHARED_VOLUMES.value}"] = None
            ways_out["let one service hand the files to the other, or run these tests on Docker"] = None
    if refused:
        raise PlanError(
            f"{facts.name} {facts.version} cannot run these services as they are declared; no test was run",
            found=list(refused),
            do=list(ways_out),
        )


def volumes_of_two(instances: Iterable[Instance]) -> Iterator[tuple[Instance, Instance, str]]:
    """Each volume that two of these have in common."""
    users: dict[tuple[NetworkKey, str], Instance] = {}
    for instance in instances:
        for name, _ in instance.spec.volumes:
            if is_host_path(name):
                continue  # each has a copy of its own
            first = users.setdefault((instance.network, name), instance)
            if first is not instance:
                yield first, instance, name


def _needs(spec: ServiceSpec) -> Iterator[_Need]:
    settings = spec.container
    if spec.udp_ports:
        yield _Need("ports", Capability.UDP, _OTHER_ENGINE)
    if spec.build:
        yield _Need("build", Capability.BUILD, _BUILD_ELSEWHERE)
    for key, placeholder in early_addresses(spec):
        yield _Need(f"{key}: {placeholder}", Capability.EARLY_ADDRESSES, _EARLY)
    if settings.network == "host":
        yield _Need("container.network", Capability.HOST_NETWORK, _OTHER_ENGINE)
    elif settings.network or any(value.startswith(OF_SERVICE) for _, value in settings.namespaces):
        key = "container.network" if settings.network else "container.namespaces"
        yield _Need(key, Capability.SHARED_NAMESPACES, _OTHER_ENGINE)
    if settings.extra_hosts:
        yield _Need("container.extra_hosts", Capability.EXTRA_HOSTS, _OTHER_ENGINE)


def _as_request(spec: ServiceSpec) -> ContainerRequest:
    """The container of a service, as far as its declaration says it; ports of UDP are a capability."""
    return ContainerRequest(
        name=spec.name,
        image=spec.image or "",
        labels={},
        command=spec.command,
        entrypoint=spec.entrypoint,
        env=dict(spec.env),
        volumes={name: place for name, place in spec.volumes if not is_host_path(name)},
        shm_bytes=spec.shm_bytes,
        cap_add=spec.cap_add,
        no_new_privileges=not spec.new_privileges,
        settings=replace(spec.container, network="", namespaces=(), extra_hosts=()),
    )
