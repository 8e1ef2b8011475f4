"""Dependencies: placeholders and `needs` resolved to services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from pytest_isolate.declarations.graph import find_cycle
from pytest_isolate.declarations.placeholders import SELF, Reference, parse_references
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.errors import Problem, suggest
from pytest_isolate.model.service import Scope, ServiceId, ServiceSpec, host_name


def resolve_references(
    services: Mapping[ServiceId, ServiceSpec], problems: list[Problem]
) -> dict[ServiceId, tuple[ServiceId, ...]]:
    """Resolve what each service needs, sorted by name; what is wrong goes to `problems`."""
    resolved = {}
    for service_id, spec in services.items():
        found: dict[str, ServiceId] = {}
        for key, reference in _references(spec):
            problem = _check_reference(service_id, spec, key, reference, services)
            if problem:
                problems.append(problem)
            elif reference.service != SELF:
                found[reference.service] = _visible(service_id, services)[reference.service]
        resolved[service_id] = tuple(found[name] for name in sorted(found))
        problems += check_lifetimes(service_id, resolved[service_id], services)
    cycle = find_cycle(resolved)
    if cycle:
        spec = services[cycle[0]]
        path = " -> ".join(str(s) for s in cycle)
        wrong = InvalidValue(
            f"the services need each other in a circle: {path}", hint="take one of these references out"
        )
        problems.append(wrong.at(spec.location, str(cycle[0])))
    return resolved


def with_host_name(service_id: ServiceId, spec: ServiceSpec, services: Mapping[ServiceId, ServiceSpec]) -> ServiceSpec:
    """The service with the alias that stands for it in addresses, unless another one that it may meet is called so."""
    name = host_name(spec.name)
    stack = service_id.stack
    met = [s for i, s in services.items() if i != service_id and (i.stack == stack or not (stack.name or i.stack.name))]
    if name in (spec.name, *spec.container.aliases) or spec.container.network:
        return spec
    if any(name in (other.name, *other.container.aliases) for other in met):
        return spec
    return replace(spec, container=replace(spec.container, aliases=(*spec.container.aliases, name)))


def early_addresses(spec: ServiceSpec) -> list[tuple[str, str]]:
    """Keys of a service that hold its own address for tests, each with the placeholder: known before it starts."""
    found = [(key, reference) for key, reference in _references(spec) if reference.attribute.startswith("external_")]
    return [(key, str(reference)) for key, reference in found if "port" not in reference.attribute]


def _references(spec: ServiceSpec) -> Iterable[tuple[str, Reference]]:
    texts: list[tuple[str, str]] = [(f"env.{name}", text) for name, text in spec.env]
    texts += [("command", word) for word in spec.command or ()]
    texts += [("entrypoint", word) for word in spec.entrypoint or ()]
    texts += [(f"files.{file.target}", file.text) for file in spec.files if file.text is not None]
    for key, text in texts:
        for reference in parse_references(text):
            yield key, reference
    for name in spec.needs:
        yield "needs", Reference(name, "host")


def _visible(service_id: ServiceId, services: Mapping[ServiceId, ServiceSpec]) -> dict[str, ServiceId]:
    """Services that this one can refer to: its own stack; in the default one all that pytest would show it."""
    stack = service_id.stack
    if stack.name:
        return {other.name: other for other in services if other.stack == stack}
    return visible_services(services, stack.namespace)


def visible_services(raws: Iterable[ServiceId], namespace: str) -> dict[str, ServiceId]:
    """The services outside of stacks that can be named at a place of the test tree; the nearest of each name."""
    near = [s for s in raws if not s.stack.name and is_within(namespace, s.stack.namespace)]
    return {s.name: s for s in sorted(near, key=lambda s: len(s.stack.namespace))}


def is_within(inner: str, outer: str) -> bool:
    """True where one pytest base id is the other or lies below it."""
    return not outer or inner == outer or inner.startswith((f"{outer}/", f"{outer}::"))


def _check_reference(
    service_id: ServiceId, spec: ServiceSpec, key: str, reference: Reference, services: Mapping[ServiceId, ServiceSpec]
) -> Problem | None:
    visible = _visible(service_id, services)
    own = reference.service == SELF
    if key == "needs" or (not own and reference.service not in visible):
        return _check_visible(service_id, spec, key, reference, visible)
    target = spec if own else services[visible[reference.service]]
    if not own and target is spec:
        return None  # a reference to itself by name: reported as a cycle
    valid = valid_attributes(target, own=own)
    if reference.attribute in valid:
        return None
    words = ", ".join(valid) + "; for the literal text double the braces"
    if not own and reference.attribute.startswith("external_"):
        # Its closest word is the address inside, which is not what was meant.
        known = f"only {reference.service!r} itself knows it, as {{self.{reference.attribute}}}"
        wrong = InvalidValue(f"unknown placeholder {reference}: {known}", words)
    else:
        wrong = InvalidValue(f"unknown placeholder {reference}{suggest(reference.attribute, valid)}", words)
    return wrong.at(spec.location, str(service_id), key)


def _check_visible(
    service_id: ServiceId, spec: ServiceSpec, key: str, reference: Reference, visible: Mapping[str, ServiceId]
) -> Problem | None:
    if reference.service in visible:
        return None
    names = sorted(set(visible) - {spec.name})
    where, valid = "", ", ".join(names) or "none: no other service is declared where this one is"
    if key != "needs":
        where, valid = f" in {reference}", ", ".join([*names, SELF]) + "; for the literal text double the braces"
    wrong = InvalidValue(f"unknown service {reference.service!r}{where}{suggest(reference.service, names)}", valid)
    return wrong.at(spec.location, str(service_id), key)


def valid_attributes(spec: ServiceSpec, *, own: bool) -> list[str]:
    """The attributes of a service that a placeholder can name; the test side's only for the service itself."""
    names = ["host"]
    if spec.ports:
        names += ["port", "address", "url"]
    names += [key for key in ("user", "password", "database") if getattr(spec, key) is not None]
    if not own:
        names += [f"env.{name}" for name, _ in spec.env]
    elif spec.ports:
        names += ["external_host", "external_port", "external_address"]
        names += [f"external_port.{port}" for port in spec.ports]
    return names


def check_lifetimes(
    service_id: ServiceId, needed: Iterable[ServiceId], services: Mapping[ServiceId, ServiceSpec]
) -> Iterable[Problem]:
    """Find services that would outlive, or be shared more widely than, what they need."""
    spec = services[service_id]
    for other in needed:
        if services[other].scope < spec.scope:
            wrong = InvalidValue(
                f"lives for the {spec.scope.word} but needs {other}, which lives for the {services[other].scope.word} "
                "only",
                hint=f"scope={services[other].scope.word!r} here, or a wider one there",
            )
            yield wrong.at(spec.location, str(service_id), "scope")
        elif services[other].share == "worker" and spec.share == "run" and spec.scope is Scope.SESSION:
            reason = f"is shared by the run but needs {other}, which each worker has for itself"
            yield InvalidValue(reason, hint="share='worker' here too").at(spec.location, str(service_id), "share")
