"""What a reset needs of its service, and with whom a service that is reset can be shared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from pytest_isolate.errors import Problem
from pytest_isolate.model.probes import Http
from pytest_isolate.model.reset import Pristine
from pytest_isolate.model.service import ServiceId, ServiceSpec
from pytest_isolate.declarations.data import missing_for_copies
from pytest_isolate.declarations.graph import reachable
from pytest_isolate.declarations.references import check_lifetimes
from pytest_isolate.declarations.values import Wrong


def check_reset(spec: ServiceSpec) -> Iterable[Wrong]:
    """What is wrong with a service's own reset."""
    match spec.reset:
        case Pristine() if spec.copies is None:
            valid = "command(...), http(...), a function, or copies='postgres', 'mariadb' or 'redis' where it is one"
            yield Wrong("reset=True is a preset's own way, and this service declares no way to copy its data", valid)
        case Pristine() if missing := missing_for_copies(spec):
            yield Wrong(f"reset=True with copies={spec.copies!r}, but no {' and no '.join(missing)}")
        case Http() if not spec.ports:
            yield Wrong("this call needs a port, and the service declares none", "port=...")
        case Http(port=int(port)) if port not in spec.ports:
            yield Wrong(f"port {port} is not declared", ", ".join(map(str, spec.ports)))


def settle_shares(
    services: Mapping[ServiceId, ServiceSpec],
    dependencies: Mapping[ServiceId, tuple[ServiceId, ...]],
    said: Collection[ServiceId],
    problems: list[Problem],
) -> dict[ServiceId, ServiceSpec]:
    """The services, of which each worker has its own of those that are reset: others would lose their data.

    With them whoever needs them, and the rest of their stack; where `share` is `said` it stays.
    """
    reset = {service for service, spec in services.items() if spec.reset and service not in said}
    stacks = {service.stack for service in reset if service.stack.name}
    apart = reset | {service for service in services if service.stack in stacks}
    if not apart:
        return dict(services)
    apart |= {service for service in services if reachable([service], dependencies) & apart}
    settled = {s: replace(spec, share="worker") if s in apart - set(said) else spec for s, spec in services.items()}
    for service in apart & set(said):
        problems += check_lifetimes(service, dependencies[service], settled)
    return settled
