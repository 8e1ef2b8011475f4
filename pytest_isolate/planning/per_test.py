"""The catalogue as one test has it: alternatives chosen, overrides made, and what these changes reach."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from pytest_isolate.declarations.external_checks import refuse_change
from pytest_isolate.declarations.graph import reachable
from pytest_isolate.declarations.keys import fingerprint
from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.declarations.references import resolve_references, with_host_name
from pytest_isolate.declarations.service import check_native_ports, load_service
from pytest_isolate.declarations.variants import Alternative, copies_of
from pytest_isolate.errors import Problem
from pytest_isolate.model.declaration import Layer, RawService
from pytest_isolate.model.service import (
    Change,
    ServiceId,
    ServiceSpec,
    StackId,
    StackSpec,
    Variation,
    describe_reset,
    is_host_path,
)
from pytest_isolate.planning.placement import written_paths

Overrides = Mapping[ServiceId, tuple[Layer, ...]]
"""Changes of services, on top of everything else."""


def catalogue_with(
    catalogue: Catalogue,
    picks: Mapping[ServiceId, tuple[Alternative, str]],
    overrides: Overrides,
    problems: list[Problem],
    exists: Callable[[str], bool],
) -> Catalogue:
    """The catalogue with these alternatives (each with the place that declares it) and overrides."""

    def load(service_id: ServiceId, raw: RawService) -> ServiceSpec:
        declared = catalogue.services[service_id]
        # pytest has decided about the life of the fixture, and with it of its service.
        lasting = (Layer(values={"scope": None, "share": None}, location=raw.location),)
        spec = load_service(service_id.name, raw._replace(layers=(*raw.layers, *lasting)), problems, exists)
        spec = catalogue.run_overrides.apply(service_id, replace(spec, scope=declared.scope, share=declared.share))
        return with_host_name(service_id, spec, catalogue.services)

    raws, changes = _apply_picks(catalogue, picks)
    specs = {service_id: load(service_id, raw) for service_id, raw in raws.items()}
    for service_id, layers in overrides.items():
        problems += refuse_change(service_id, catalogue.services[service_id], layers)
        before = raws.get(service_id, catalogue.raws[service_id])
        spec = load(service_id, before._replace(layers=(*before.layers, *layers)))
        location = catalogue.services[service_id].location
        unchanged = specs.get(service_id, catalogue.services[service_id])
        if replace(spec, location=location) == replace(unchanged, location=location):
            continue
        change = changes.get(service_id, Change(service_id, ""))
        specs[service_id] = spec
        changes[service_id] = replace(change, label=f"{change.label}~{_digest(spec)}")
    return _replace_specs(catalogue, specs, changes, problems) if specs else catalogue


def closure(catalogue: Catalogue, services: Iterable[ServiceId]) -> frozenset[ServiceId]:
    """These services, what they need, and what cannot be told apart from them on one network.

    That is: services that share a volume, and the whole of a stack that has one address.
    """
    return reachable(services, _edges(catalogue.services, catalogue.stacks, catalogue.dependencies))


def _apply_picks(
    catalogue: Catalogue, picks: Mapping[ServiceId, tuple[Alternative, str]]
) -> tuple[dict[ServiceId, RawService], dict[ServiceId, Change]]:
    """The declarations that the chosen alternatives lead to, copies included: what a copy changes stays changed."""
    raws, changes = {}, {}
    for picked, (alternative, origin) in picks.items():
        depth = len(catalogue.raws[picked].layers)
        for service_id in copies_of(picked, catalogue.raws):
            own = catalogue.raws[service_id].layers[depth:]
            raws[service_id] = alternative.raw._replace(layers=(*alternative.raw.layers, *own))
            changes[service_id] = Change(service_id, f"={alternative.name}", origin)
    return raws, changes


def _digest(spec: ServiceSpec) -> str:
    reset = describe_reset(spec.reset) if spec.reset else ""
    text = f"{fingerprint(spec, stack='')} {spec.timeout_s} {reset}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def _replace_specs(
    catalogue: Catalogue,
    specs: Mapping[ServiceId, ServiceSpec],
    changes: Mapping[ServiceId, Change],
    problems: list[Problem],
) -> Catalogue:
    services = {**catalogue.services, **specs}
    stacks = {
        stack_id: replace(stack, services=tuple(services[ServiceId(stack_id, m.name)] for m in stack.services))
        for stack_id, stack in catalogue.stacks.items()
    }
    for stack_id in {service_id.stack for service_id in specs} & stacks.keys():
        problems += check_native_ports(stacks[stack_id])
    dependencies = resolve_references(services, problems)
    edges = _edges(services, stacks, dependencies)
    variations: dict[ServiceId, Variation] = {}
    for service_id in services:
        reached = reachable([service_id], edges)
        variations[service_id] = tuple(sorted(changes[other] for other in changes.keys() & reached))
    return replace(
        catalogue,
        services=services,
        stacks=stacks,
        dependencies=dependencies,
        declared=catalogue,
        variations={s: variation for s, variation in variations.items() if variation},
    )


def _stacks(services: Iterable[ServiceId]) -> set[StackId]:
    return {service_id.stack for service_id in services}


def _edges(
    services: Mapping[ServiceId, ServiceSpec],
    stacks: Mapping[StackId, StackSpec],
    dependencies: Mapping[ServiceId, tuple[ServiceId, ...]],
) -> dict[ServiceId, list[ServiceId]]:
    edges = {service_id: list(needed) for service_id, needed in dependencies.items()}
    together: dict[tuple[StackId, str], list[ServiceId]] = {}
    written = {stack: written_paths(s for i, s in services.items() if i.stack == stack) for stack in _stacks(services)}
    for service_id, spec in services.items():
        for volume, _ in spec.volumes:
            # Of what all only read, each may have its own.
            if not is_host_path(volume) or volume in written[service_id.stack]:
                together.setdefault((service_id.stack, volume), []).append(service_id)
        if service_id.stack in stacks and stacks[service_id.stack].native_ports:
            together.setdefault((service_id.stack, ""), []).append(service_id)
    for members in together.values():
        for member in members:
            edges[member] += members
    return edges
