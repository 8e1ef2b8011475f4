"""Raw declarations into checked services and stacks; every wrong one is named, all at once."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from msgspec import Struct, field
from msgspec.structs import replace

from pytest_isolate.declarations.data import as_whole_instance, check_reset, hide_bases, load_fresh, resolve_sharing
from pytest_isolate.declarations.keys import (
    LOCATED_PARSERS,
    MERGED_KEYS,
    SERVICE_KEYS,
    SERVICE_PARSERS,
    STACK_KEYS,
    STACK_PARSERS,
    anchor_files,
)
from pytest_isolate.declarations.members import find_members
from pytest_isolate.declarations.placeholders import SELF
from pytest_isolate.declarations.references import resolve_references
from pytest_isolate.declarations.run_options import RunOverrides
from pytest_isolate.declarations.testcontainers import check_module, unfold
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.declarations.variant_option import Chosen, select_variants
from pytest_isolate.declarations.variants import Group, load_groups
from pytest_isolate.errors import DeclarationError, Problem, suggest
from pytest_isolate.model.declaration import MODULE, Declared, Layer, RawFresh, RawService, RawStack, RawVariants
from pytest_isolate.model.fresh import FreshSpec
from pytest_isolate.model.location import Location
from pytest_isolate.model.probes import Command, Ended, Log
from pytest_isolate.model.service import ServiceId, ServiceSpec, StackId, StackSpec, Variation
from pytest_isolate.model.testcontainers import Module

_PROJECT_FILES = ("conftest.py", ".toml")
_SPEC_FIELDS = {"timeout": "timeout_s", "memory": "memory_bytes", "shm_size": "shm_bytes"}


class Catalogue(Struct, frozen=True, kw_only=True):
    """Everything that is declared, checked; each service's dependencies resolved, by alias (the plain name).

    `variations` says what is changed about services, or about what they need, for some tests.
    """

    services: Mapping[ServiceId, ServiceSpec]
    stacks: Mapping[StackId, StackSpec]
    dependencies: Mapping[ServiceId, tuple[ServiceId, ...]]
    raws: Mapping[ServiceId, RawService] = {}
    groups: tuple[Group, ...] = ()
    variations: Mapping[ServiceId, Variation] = {}
    declared: Catalogue | None = None
    """The catalogue without the changes, where there are some."""

    fresh: Mapping[ServiceId, FreshSpec] = {}
    run_overrides: RunOverrides = field(default_factory=RunOverrides)
    """What the run's options make of every service."""
    members: Mapping[ServiceId, ServiceId] = {}
    """Services of stacks, by the fixtures that hand out one of them each."""

    def variation(self, service: ServiceId) -> Variation:
        """The changes that reach a service."""
        return self.variations.get(service, ())


class LayeredValue(Struct, frozen=True):
    """A value and the place that sets it."""

    value: object
    location: Location


def load(
    declared: Iterable[Declared],
    *,
    reserved: frozenset[str] = frozenset(),
    exists: Callable[[str], bool],
    chosen: Chosen | None = None,
    run_overrides: RunOverrides | None = None,
) -> Catalogue:
    """Check everything; raise one DeclarationError that holds every problem found."""
    problems: list[Problem] = []
    catalogue = read(declared, problems, reserved=reserved, exists=exists, chosen=chosen, run_overrides=run_overrides)
    raise_all(problems)
    return catalogue


def raise_all(problems: Iterable[Problem]) -> None:
    """One DeclarationError for all of them, if there are any."""
    found = sorted(dict.fromkeys(problems), key=_reading_order)
    if found:
        raise DeclarationError(found)


def read(
    declared: Iterable[Declared],
    problems: list[Problem],
    *,
    reserved: frozenset[str] = frozenset(),
    exists: Callable[[str], bool],
    chosen: Chosen | None = None,
    run_overrides: RunOverrides | None = None,
) -> Catalogue:
    """Everything that is declared, as far as it can be understood; what is wrong goes to `problems`.

    `chosen` are the alternatives that the command line names, `run_overrides` the options that apply to all services.
    """
    run_overrides = run_overrides or RunOverrides()
    items = sorted(declared, key=lambda d: (d.namespace, d.name))
    services: dict[ServiceId, ServiceSpec] = {}
    stacks: dict[StackId, StackSpec] = {}
    raws: dict[ServiceId, RawService] = {}
    varied: list[Declared] = []
    copying: dict[ServiceId, RawFresh] = {}
    said_stacks: set[StackId] = set()
    for _, group in groupby(items, key=lambda d: (d.namespace, d.name)):
        same = list(group)
        # As with any fixture, the one that pytest registered last wins over those of installed plugins.
        item = same[-1]
        problems += _check_duplicates(same)
        problems += _check_name(item, reserved)
        whole = as_whole_instance(item.raw) if isinstance(item.raw, RawFresh) else item.raw
        if isinstance(item.raw, RawVariants):
            varied.append(item)
        elif isinstance(whole, RawService):
            service_id = ServiceId(StackId(item.namespace), item.name)
            services[service_id] = load_service(item.name, whole, problems, exists)
            raws[service_id] = whole
        elif isinstance(item.raw, RawFresh):
            copying[ServiceId(StackId(item.namespace), item.name)] = item.raw
        elif isinstance(item.raw, RawStack):
            stack = load_stack(item.name, item.raw, problems, exists)
            stack_id = StackId(item.namespace, item.name)
            stacks[stack_id] = stack
            said_stacks |= {stack_id} if "share" in item.raw.options else set()
            services |= {ServiceId(stack_id, member.name): member for member in stack.services}
            raws |= {ServiceId(stack_id, n): raw for n, raw in item.raw.members.items() if isinstance(raw, RawService)}
    hidden = hide_bases(copying, raws)
    raws |= hidden
    services |= {base: load_service(base.name, raw, problems, exists) for base, raw in hidden.items()}
    fresh = load_fresh(copying, raws, services, problems, exists)
    services = {service: run_overrides.apply(service, spec) for service, spec in services.items()}
    dependencies = resolve_references(services, problems)
    said = {service for service, raw in raws.items() if "share" in merge_layers(raw.layers)}
    said |= {service for service in services if service.stack in said_stacks}
    services = resolve_sharing(services, dependencies, said, problems)
    stacks = {stack_id: _with_members(stack_id, stack, services) for stack_id, stack in stacks.items()}
    groups = select_variants(load_groups(varied, raws, problems), chosen or {}, raws, problems)
    return Catalogue(
        services=services,
        stacks=stacks,
        dependencies=dependencies,
        raws=raws,
        groups=groups,
        fresh=fresh,
        run_overrides=run_overrides,
        members=find_members(items, stacks, problems),
    )


def _with_members(stack_id: StackId, stack: StackSpec, services: Mapping[ServiceId, ServiceSpec]) -> StackSpec:
    """A stack with its members as they are now; they are all shared alike."""
    members = tuple(services[ServiceId(stack_id, member.name)] for member in stack.services)
    return replace(stack, services=members, share=members[0].share if members else stack.share)


def _reading_order(problem: Problem) -> tuple[str, int, str]:
    file, _, line = problem.place.rpartition(":")
    return (file, int(line), problem.subject) if line.isdigit() else (problem.place, 0, problem.subject)


def load_service(name: str, raw: RawService, problems: list[Problem], exists: Callable[[str], bool]) -> ServiceSpec:
    """The checked service; what is wrong goes to `problems` and is left at its default."""
    if raw.bad_base is not None:
        problems.append(_problem(raw.location, name, "", InvalidValue(*raw.bad_base)))
        return ServiceSpec(name=name, location=raw.location)
    values: dict[str, object] = {}
    settings = merge_layers(raw.layers)
    for key, setting in settings.items():
        try:
            values[_SPEC_FIELDS.get(key, key)] = _parse(key, setting)
        except InvalidValue as wrong:
            problems.append(_problem(setting.location, name, key, wrong))
    wrong_keys = {_SPEC_FIELDS.get(key, key) for key in settings} - values.keys()
    port = values.pop("port", None)
    if port is not None:
        rest = values.get("ports", ())
        assert isinstance(rest, tuple)
        values["ports"] = (port, *(p for p in rest if p != port))
    spec = ServiceSpec(name=name, location=raw.location, **values)  # type: ignore[arg-type]  # parsed just above
    if not wrong_keys & {"image", "build"}:
        problems += _check_image(spec, settings, exists)
    if not wrong_keys & {"port", "ports", "ready", "url", "files"}:
        problems += _check_whole(spec, settings, exists)
    if not wrong_keys & {"port", "ports", "copies", "user", "password", "database"}:
        problems += [_problem(settings["reset"].location, name, "reset", wrong) for wrong in check_reset(spec)]
    if spec.module:
        problems += check_module(spec, str(settings[MODULE].location))
    return spec


def load_stack(name: str, raw: RawStack, problems: list[Problem], exists: Callable[[str], bool]) -> StackSpec:
    """The checked stack with its services, which live as long and are shared as widely as it says."""
    problems += raw.problems
    options: dict[str, object] = {}
    for key, value in raw.options.items():
        try:
            options["native_ports" if key == "ports" else key] = _parse_stack_option(key, value)
        except InvalidValue as wrong:
            problems.append(_problem(raw.location, name, key, wrong))
    members = []
    for member, raw_member in raw.members.items():
        if not isinstance(raw_member, RawService):
            refusal = InvalidValue(f"{raw_member!r} is not a service{suggest(member, STACK_KEYS)}", "service(...)")
            problems.append(_problem(raw.location, name, member, refusal))
            continue
        problems += [
            _problem(
                raw.location, name, f"{member}.{key}", InvalidValue("belongs to the whole stack", f"{key}= of stack()")
            )
            for key in ("scope", "share")
            if key in merge_layers(raw_member.layers)
        ]
        members.append(load_service(member, raw_member, problems, exists))
    if not raw.members and not raw.problems:
        problems.append(_problem(raw.location, name, "", InvalidValue("a stack without services", "name=service(...)")))
    stack = StackSpec(name=name, services=tuple(members), location=raw.location, **options)  # type: ignore[arg-type]
    problems += check_native_ports(stack)
    placed = tuple(replace(m, scope=stack.scope, share=stack.share) for m in members)
    return replace(stack, services=placed)


def check_native_ports(stack: StackSpec) -> Iterable[Problem]:
    """What is wrong with a stack's ports: on one address two services cannot have the same."""
    taken: dict[int, str] = {}
    for member in (m for m in stack.services if stack.native_ports and not m.external):
        for port in member.ports:
            other = taken.setdefault(port, member.name)
            if other != member.name:
                wrong = InvalidValue(
                    f"port {port} is taken by {other!r}, and ports='native' gives both one address", "held"
                )
                yield _problem(stack.location, stack.name, f"{member.name}.ports", wrong)


def merge_layers(layers: Iterable[Layer]) -> dict[str, LayeredValue]:
    """Each key's last value and its place; tables are merged entry by entry, None takes out what was set before."""
    merged: dict[str, LayeredValue] = {}
    for layer in layers:
        values = unfold(layer.values)
        for together in (("image", "build"), ("port", "ports")):
            if any(values.get(key) is not None for key in together):
                for key in together:
                    merged.pop(key, None)
        for key, value in values.items():
            if key == "files":
                value = anchor_files(value, layer.location)
            before = merged.get(key)
            if value is None:
                merged.pop(key, None)
                continue
            if key in MERGED_KEYS and before and isinstance(value, Mapping) and isinstance(before.value, Mapping):
                value = {**before.value, **value}
            if key in MERGED_KEYS and isinstance(value, Mapping):
                value = {k: v for k, v in value.items() if v is not None}
            merged[key] = LayeredValue(value, layer.location)
    return merged


def _parse(key: str, setting: LayeredValue) -> object:
    if key in LOCATED_PARSERS:
        return LOCATED_PARSERS[key](setting.value, setting.location)
    if key == MODULE and isinstance(setting.value, Module):
        return setting.value
    if key not in SERVICE_PARSERS:
        raise InvalidValue(f"unknown key {key!r}{suggest(key, SERVICE_KEYS)}", ", ".join(sorted(SERVICE_KEYS)))
    return SERVICE_PARSERS[key](setting.value)


def _parse_stack_option(key: str, value: object) -> object:
    if key == "ports":
        if value in ("native", "held"):
            return value == "native"
        raise InvalidValue(
            f"{value!r} is not a way to publish ports{suggest(value, ('native', 'held'))}", "native, held"
        )
    return STACK_PARSERS[key](value)


def _problem(location: Location, name: str, key: str, wrong: InvalidValue) -> Problem:
    path = ".".join(part for part in (name, key, wrong.key) if part)
    return Problem(place=str(location), subject=path, reason=wrong.reason, valid=wrong.valid)


def _check_duplicates(same: Sequence[Declared]) -> Iterable[Problem]:
    """The project's own files must not declare a name twice for the same tests."""
    first, *others = [d for d in same if d.raw.location.file.endswith(_PROJECT_FILES)] or same[:1]
    for other in others:
        reason = f"two services with one name; the other is declared at {first.raw.location}"
        yield Problem(place=str(other.raw.location), subject=other.name, reason=reason, hint="rename one of them")


def _check_name(declared: Declared, reserved: frozenset[str]) -> Iterable[Problem]:
    place = str(declared.raw.location)
    if "::" in declared.namespace:
        reason = f"declared in the class {declared.namespace.rpartition('::')[2]}"
        yield Problem(
            place=place, subject=declared.name, reason=reason, hint="declare it in the module or a conftest.py"
        )
    names = [declared.name, *(declared.raw.members if isinstance(declared.raw, RawStack) else ())]
    for name in names:
        if name == SELF or (name in reserved and name == declared.name):
            by = "by pytest or pytest-django"
            reason = f"the fixture name {name!r} is reserved {by}" if name != SELF else "the name 'self' is reserved"
            hint = f"choose another name, such as {name}_service"
            yield Problem(place=place, subject=declared.name, reason=reason, hint=hint)
        elif not name.isidentifier() or keyword.iskeyword(name):
            reason = f"{name!r} cannot be the name of a fixture"
            yield Problem(place=place, subject=declared.name, reason=reason, valid="a Python name, such as orders_db")


def _check_image(
    spec: ServiceSpec, settings: Mapping[str, LayeredValue], exists: Callable[[str], bool]
) -> Iterable[Problem]:
    if not spec.image and not spec.build:
        wrong = InvalidValue("no image and no build", "image='name:tag' or build='folder with a Dockerfile'")
        yield _problem(spec.location, spec.name, "", wrong)
    elif spec.build and not exists(spec.build.dockerfile):
        wrong = InvalidValue(f"there is no Dockerfile at {spec.build.dockerfile}", "a folder with a Dockerfile in it")
        yield _problem(settings["build"].location, spec.name, "build", wrong)


def _check_whole(
    spec: ServiceSpec, settings: Mapping[str, LayeredValue], exists: Callable[[str], bool]
) -> Iterable[Problem]:
    for probe in spec.ready:
        where = settings["ready"].location
        if isinstance(probe, Ended) and (len(spec.ready) > 1 or spec.reset):
            wrong = InvalidValue("what has ended can be asked nothing more", "ended() alone, and no reset=")
            yield _problem(where, spec.name, "ready", wrong)
        if isinstance(probe, (Log, Command, Ended)):
            continue
        if not spec.ports:
            wrong = InvalidValue("this probe needs a port, and the service declares none", "port=...")
            yield _problem(where, spec.name, "ready", wrong)
        elif probe.port and probe.port not in spec.ports:
            wrong = InvalidValue(f"port {probe.port} is not declared", ", ".join(map(str, spec.ports)))
            yield _problem(where, spec.name, "ready", wrong)
    if spec.files and spec.container.read_only:
        wrong = InvalidValue("files cannot be copied into a container with this", "files={} or read_only=False")
        yield _problem(settings["container"].location, spec.name, "container.read_only", wrong)
    for file in spec.files:
        if file.source and not exists(file.source):
            wrong = InvalidValue(f"there is no file or folder {file.source}", "a path that exists")
            yield _problem(settings["files"].location, spec.name, f"files.{file.target}", wrong)
    if spec.url:
        try:
            spec.url.format(host="h", port=1, user="u", password="p", database="d")  # noqa: S106  # sample words
        except (KeyError, ValueError, IndexError, AttributeError, TypeError):
            wrong = InvalidValue(
                f"{spec.url!r} is not a URL template", "{host}, {port}, {user}, {password}, {database}"
            )
            yield _problem(settings["url"].location, spec.name, "url", wrong)
