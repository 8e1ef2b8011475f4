"""Scope x worker -> which instance, on which network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from pytest_isolate.declarations.graph import build_start_order
from pytest_isolate.declarations.keys import fingerprint
from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.declarations.references import is_within
from pytest_isolate.model.service import (
    Scope,
    ServiceId,
    ServiceSpec,
    StackId,
    Variation,
    describe_alternatives,
    is_host_path,
    split_mode,
)


class ItemPosition(Struct, frozen=True, kw_only=True):
    """A test's position: its own node id and those of its class, its module and everything above it."""

    test: str
    test_class: str
    module: str
    above: tuple[str, ...] = ()
    worker: str = ""


class Place(Struct, frozen=True, order=True):
    """Owner of an instance: the run or one worker (node empty), a package, module, class or test."""

    scope: Scope
    node: str = ""
    worker: str = ""


class InstanceKey(Struct, frozen=True, order=True):
    """One running copy: equal keys mean that it is shared."""

    service: ServiceId
    place: Place
    fingerprint: str
    variation: Variation = ()

    @property
    def network(self) -> NetworkKey:
        """The network that it lives on."""
        return NetworkKey(self.service.stack, self.place, self.variation)

    @property
    def alternatives(self) -> str:
        """The alternatives that it has, or that what it needs has: `[postgres-16]`; empty for none."""
        return describe_alternatives(self.service, self.variation)

    @property
    def words(self) -> str:
        """Its name for people, such as `hr.db[postgres-16]`."""
        return f"{self.service}{self.alternatives}"


class NetworkKey(Struct, frozen=True, order=True):
    """The private network of a stack at a place, or of what the same changes reach of it there.

    Two alternatives of a service have one name, so they must not meet; what neither reaches is on a network that has
    no variation, and is attached to theirs.
    """

    stack: StackId
    place: Place
    variation: Variation = ()


class Instance(Struct, frozen=True, kw_only=True):
    """An instance to start: what, where, and the instances that it needs by alias."""

    key: InstanceKey
    spec: ServiceSpec
    native_ports: bool
    dependencies: tuple[tuple[str, InstanceKey], ...]
    network_capacity: int
    """Most containers that its network may have to hold."""
    stack_depth: int
    """Depth of the stack in the dependency order; a stack depends only on lower ones."""
    written: frozenset[str] = frozenset()
    """Files and folders of this host that a service of its stack may write to, so that each stack has its own."""

    @property
    def network(self) -> NetworkKey:
        """The network that it lives on; what it needs from elsewhere is attached to that one too."""
        return self.key.network


def written_paths(services: Iterable[ServiceSpec]) -> frozenset[str]:
    """Files and folders of this host that one of these services mounts without `:ro`."""
    mounts = [mount for spec in services for mount in spec.volumes]
    return frozenset(name for name, target in mounts if is_host_path(name) and not split_mode(target)[1])


def place_of(spec: ServiceSpec, service_id: ServiceId, where: ItemPosition) -> Place:
    """The place whose end is the end of the instance."""
    namespace = service_id.stack.namespace
    match spec.scope:
        case Scope.SESSION:
            node = ""
        case Scope.PACKAGE:
            # pytest's package scope is the package of the conftest.py that declares the fixture.
            node = namespace if namespace in where.above else ""
        case Scope.MODULE:
            node = where.module
        case Scope.CLASS:
            node = where.test_class
        case Scope.FUNCTION:
            node = where.test
    is_shared = not node and spec.share == "run"
    return Place(spec.scope if node else Scope.SESSION, node, "" if is_shared else where.worker)


def places_of(where: ItemPosition, namespaces: Iterable[str]) -> frozenset[Place]:
    """Every place that is still in use while the test at `where` runs."""
    nodes = [(Scope.SESSION, ""), (Scope.FUNCTION, where.test), (Scope.CLASS, where.test_class)]
    nodes += [(Scope.MODULE, where.module), *((Scope.PACKAGE, n) for n in namespaces if n in where.above)]
    return frozenset(Place(scope, node, where.worker) for scope, node in nodes)


def place_instances(wanted: Iterable[ServiceId], catalogue: Catalogue, where: ItemPosition) -> tuple[Instance, ...]:
    """The instances that a test at `where` uses when it asks for these services, each behind what it needs."""
    instances: dict[ServiceId, Instance] = {}
    for service_id in build_start_order(wanted, catalogue.dependencies):
        needed = [instances[other] for other in catalogue.dependencies[service_id]]
        instances[service_id] = _build_instance(service_id, needed, catalogue, where)
    return tuple(instances.values())


def _build_instance(
    service_id: ServiceId, needed: Iterable[Instance], catalogue: Catalogue, where: ItemPosition
) -> Instance:
    spec = catalogue.services[service_id]
    stack = catalogue.stacks.get(service_id.stack)
    dependencies: Mapping[str, InstanceKey] = {i.spec.name: i.key for i in needed}
    digest = fingerprint(
        spec,
        stack=f"{service_id.stack.namespace}\0{service_id.stack.name}\0{stack.native_ports if stack else False}",
        dependencies={alias: key.fingerprint for alias, key in dependencies.items()},
    )
    return Instance(
        key=InstanceKey(service_id, place_of(spec, service_id, where), digest, catalogue.variation(service_id)),
        spec=spec,
        native_ports=bool(stack and stack.native_ports),
        dependencies=tuple(sorted(dependencies.items())),
        network_capacity=_network_capacity(service_id, catalogue),
        stack_depth=_stack_depth(service_id.stack, catalogue),
        written=written_paths(spec for other, spec in catalogue.services.items() if other.stack == service_id.stack),
    )


def _network_capacity(service_id: ServiceId, catalogue: Catalogue) -> int:
    """Count a stack's services, and what they need from elsewhere."""
    # The same for all that share a network, so changes that do not reach it must not count.
    members = {service for service in catalogue.services if service.stack == service_id.stack}
    declared = catalogue.declared or catalogue
    changed = (catalogue.dependencies[change.service] for change in catalogue.variation(service_id))
    return len(members.union(*(declared.dependencies[m] for m in members), *changed))


def _stack_depth(stack: StackId, catalogue: Catalogue) -> int:
    """Count the stacks that a stack's services can see: none where it has a name, else those further up."""
    if stack.name:
        return 0
    others = {service.stack for service in catalogue.services if not service.stack.name} - {stack}
    return sum(is_within(stack.namespace, other.namespace) for other in others)
