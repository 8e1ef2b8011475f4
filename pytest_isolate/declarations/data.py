"""Raw fresh() declarations into checked ones: which service is the base, what initialises it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import PurePath

from msgspec.structs import replace

from pytest_isolate.declarations.files import absolute
from pytest_isolate.declarations.graph import reachable
from pytest_isolate.declarations.references import check_lifetimes, is_within
from pytest_isolate.declarations.values import (
    InvalidValue,
    is_generator,
    known_keys,
    parse_argv,
    parse_scope,
    parse_text,
    unknown_key,
)
from pytest_isolate.errors import Problem
from pytest_isolate.model.declaration import RawFresh, RawService, in_words
from pytest_isolate.model.fresh import COPY_METHODS, FreshSpec, Init, InitCommand, InitFiles, InitFunction
from pytest_isolate.model.location import Location
from pytest_isolate.model.probes import Command, Http, Probe
from pytest_isolate.model.service import Pristine, Scope, ServiceId, ServiceSpec

*_FIRST, _LAST = map(repr, COPY_METHODS)
_SAID = f"copies={', '.join(_FIRST)} or {_LAST}"


def check_reset(spec: ServiceSpec) -> Iterable[InvalidValue]:
    """Find what is wrong with a service's own reset."""
    match spec.reset:
        case Pristine() if spec.copies is None:
            valid = f"command(...), http(...), a function, or {_SAID} where it is one"
            yield InvalidValue(
                "reset=True is a preset's own way, and this service declares no way to copy its data", valid
            )
        case Pristine() if missing := missing_for_copies(spec):
            yield InvalidValue(f"reset=True with copies={spec.copies!r}, but no {' and no '.join(missing)}")
        case Http() as call:
            yield from check_port(call, spec, "this call")


def check_port(probe: Probe, spec: ServiceSpec, what: str) -> Iterable[InvalidValue]:
    """The port that is asked, where the service does not declare it."""
    if probe.needs_port and not spec.ports:
        yield InvalidValue(f"{what} needs a port, and the service declares none", "port=...")
    elif probe.port and probe.port not in spec.ports:
        yield InvalidValue(f"port {probe.port} is not declared", ", ".join(map(str, spec.ports)))


def resolve_sharing(
    services: Mapping[ServiceId, ServiceSpec],
    dependencies: Mapping[ServiceId, tuple[ServiceId, ...]],
    said: Collection[ServiceId],
    problems: list[Problem],
) -> dict[ServiceId, ServiceSpec]:
    """Give each worker its own of the services that are reset, of their stacks, and of all that need them.

    Shared, they would lose their data under the tests of other workers. Where `share` is `said` it stays.
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


FRESH_KEYS = ("init", "key", "scope")
_INITS = "a file of SQL, a folder of such files, command(...), or a function of one argument, async or not"


def hide_bases(
    copying: Mapping[ServiceId, RawFresh], raws: Mapping[ServiceId, RawService]
) -> dict[ServiceId, RawService]:
    """The bases that are no fixture of their own, each as a service `NAME_base` beside the fixture that it is for."""
    hidden: dict[ServiceId, RawService] = {}
    for fresh_id, raw in copying.items():
        known = {**raws, **hidden}
        if isinstance(raw.base, RawService) and find_base(fresh_id, raw.base, known) is None:
            name = f"{fresh_id.name}_base"
            while ServiceId(fresh_id.stack, name) in known:
                name += "_"
            hidden[ServiceId(fresh_id.stack, name)] = raw.base
    return hidden


def as_whole_instance(raw: RawFresh) -> RawService | None:
    """The service that each test gets a whole instance of; None where copies of its data are made within one.

    Where something has to be initialised there must be a way to copy it.
    """
    base = raw.base
    if not isinstance(base, RawService) or base.bad_base is not None or raw.options.keys() - {"scope"}:
        return None
    ways = [layer.values["copies"] for layer in base.layers if layer.values.get("copies") is not None]
    scope = {"scope": raw.options.get("scope", Scope.FUNCTION.word)}
    return None if ways else base.changed(scope, raw.location)


def find_base(fresh_id: ServiceId, base: RawService, raws: Mapping[ServiceId, RawService]) -> ServiceId | None:
    """The service that this very declaration stands for, among those that are visible from there; the nearest one."""
    near = [
        service
        for service, raw in raws.items()
        if raw is base and is_within(fresh_id.stack.namespace, service.stack.namespace)
    ]
    return max(near, key=lambda service: len(service.stack.namespace), default=None)


def load_fresh(
    copying: Mapping[ServiceId, RawFresh],
    raws: Mapping[ServiceId, RawService],
    services: Mapping[ServiceId, ServiceSpec],
    problems: list[Problem],
    exists: Callable[[str], bool],
) -> dict[ServiceId, FreshSpec]:
    """The checked declarations; what is wrong goes to `problems`."""
    loaded = {}
    for fresh_id, raw in copying.items():
        values: dict[str, object] = {}
        for key, value in raw.options.items():
            try:
                values[key] = _parse(key, value, raw.location, exists)
            except InvalidValue as wrong:
                problems.append(wrong.at(raw.location, fresh_id.name, key))
        base = find_base(fresh_id, raw.base, raws) if isinstance(raw.base, RawService) else None
        if base is None:
            valid = "a service's fixture, a preset such as postgres('16'), or an image's name"
            refusal = InvalidValue(f"{in_words(raw.base)} cannot be the base of fresh copies", valid)
            problems.append(refusal.at(raw.location, fresh_id.name, "base"))
            continue
        spec = FreshSpec(name=fresh_id.name, base=base, location=raw.location, **values)  # type: ignore[arg-type]
        problems += _check(spec, services[base])
        loaded[fresh_id] = spec
    return loaded


def parse_init(value: object, location: Location, exists: Callable[[str], bool]) -> Init:
    """Parse what makes the first state; paths are relative to the file that says so."""
    if isinstance(value, Mapping):
        return InitCommand(argv=parse_argv(known_keys(value, ("command",)).get("command")))
    if isinstance(value, Command):
        return InitCommand(argv=value.argv)
    if isinstance(value, (str, PurePath)):
        path = absolute(parse_text(value), location)
        if not exists(path):
            raise InvalidValue(f"there is no file or folder {path}", _INITS)
        return InitFiles(path=path)
    if callable(value) and not is_generator(value):
        return InitFunction(function=value)
    raise InvalidValue(f"{in_words(value)} cannot initialise a database", _INITS)


def _parse(key: str, value: object, location: Location, exists: Callable[[str], bool]) -> object:
    if key not in FRESH_KEYS:
        raise unknown_key(key, FRESH_KEYS)
    if key == "scope":
        return parse_scope(value)
    if value is None:
        return None
    return parse_init(value, location, exists) if key == "init" else parse_text(value)


def _check(spec: FreshSpec, base: ServiceSpec) -> Iterable[Problem]:
    if base.copies is None:
        yield InvalidValue(
            f"service {base.name!r} declares no way to copy its data",
            f"a preset such as postgres('16'), or a service with {_SAID}",
            hint="without init= each test gets a whole service of its own; what its first start makes of files= or of "
            "its image can be saved: snapshot='/the/folder'",
        ).at(spec.location, spec.name, "base")
        return
    missing = missing_for_copies(base)
    if missing:
        wrong = InvalidValue(f"service {base.name!r} has copies={base.copies!r}, but no {' and no '.join(missing)}")
        yield wrong.at(spec.location, spec.name, "base")
    if isinstance(spec.init, InitFiles) and not COPY_METHODS[base.copies].init_suffixes:
        wrong = InvalidValue(
            f"a {base.copies} service cannot be initialised by files of SQL", "command(...), or a function"
        )
        yield wrong.at(spec.location, spec.name, "init")
    if base.scope < spec.scope:
        reason = f"lives for the {spec.scope.word}, but its base lives for the {base.scope.word} only"
        valid = ", ".join(scope.word for scope in Scope if scope <= base.scope)
        yield InvalidValue(reason, valid).at(spec.location, spec.name, "scope")


def missing_for_copies(spec: ServiceSpec) -> list[str]:
    """The keys that a service's way to copy its data needs, and that are not there."""
    keys = COPY_METHODS[spec.copies].needs if spec.copies else ()
    return [*(key for key in keys if getattr(spec, key) is None), *(() if spec.ports else ("port",))]
