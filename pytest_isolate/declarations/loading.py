"""Raw declarations into checked services and stacks; every wrong one is named, all at once."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from msgspec import Struct, field
from msgspec.structs import replace

from pytest_isolate.declarations.data import as_whole_instance, hide_bases, load_fresh, resolve_sharing
from pytest_isolate.declarations.members import find_members
from pytest_isolate.declarations.placeholders import SELF
from pytest_isolate.declarations.references import resolve_references, with_host_name
from pytest_isolate.declarations.run_options import RunOverrides
from pytest_isolate.declarations.service import load_service, load_stack, merge_layers
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.declarations.variant_option import Chosen, select_variants
from pytest_isolate.declarations.variants import Group, load_groups
from pytest_isolate.errors import DeclarationError, Problem
from pytest_isolate.model.declaration import Declared, RawFresh, RawService, RawStack, RawVariants
from pytest_isolate.model.fresh import FreshSpec
from pytest_isolate.model.service import ServiceId, ServiceSpec, StackId, StackSpec, Variation

_PROJECT_FILES = ("conftest.py", ".toml")


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
    """The options that apply to every service."""
    members: Mapping[ServiceId, ServiceId] = {}
    """Services of stacks, by the fixtures that hand out one of them each."""

    def variation(self, service: ServiceId) -> Variation:
        """The changes that reach a service."""
        return self.variations.get(service, ())


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


class _Found(Struct, kw_only=True):
    """Declarations, each loaded by itself."""

    services: dict[ServiceId, ServiceSpec] = {}
    stacks: dict[StackId, StackSpec] = {}
    raws: dict[ServiceId, RawService] = {}
    varied: list[Declared] = []
    copying: dict[ServiceId, RawFresh] = {}

    def add(self, item: Declared, problems: list[Problem], exists: Callable[[str], bool]) -> None:
        own_id = ServiceId(StackId(item.namespace), item.name)
        whole = as_whole_instance(item.raw) if isinstance(item.raw, RawFresh) else item.raw
        match whole or item.raw:
            case RawVariants():
                self.varied.append(item)
            case RawService() as raw:
                self.add_service(own_id, raw, problems, exists)
            case RawFresh() as raw:
                self.copying[own_id] = raw
            case RawStack() as raw:
                stack_id = StackId(item.namespace, item.name)
                stack = self.stacks[stack_id] = load_stack(item.name, raw, problems, exists)
                self.services |= {ServiceId(stack_id, member.name): member for member in stack.services}
                named = {ServiceId(stack_id, name): member for name, member in raw.members.items()}
                self.raws |= {service: member for service, member in named.items() if isinstance(member, RawService)}

    def add_service(
        self, service: ServiceId, raw: RawService, problems: list[Problem], exists: Callable[[str], bool]
    ) -> None:
        self.services[service] = load_service(service.name, raw, problems, exists)
        self.raws[service] = raw


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
    found = _Found()
    for _, group in groupby(items, key=lambda d: (d.namespace, d.name)):
        same = list(group)
        # As with any fixture, the one that pytest registered last wins over those of installed plugins.
        item = same[-1]
        problems += _check_duplicates(same)
        problems += (wrong.at(item.raw.location, item.name) for wrong in _find_wrong_names(item, reserved))
        found.add(item, problems, exists)
    for base, hidden in hide_bases(found.copying, found.raws).items():
        found.add_service(base, hidden, problems, exists)
    raws = found.raws
    fresh = load_fresh(found.copying, raws, found.services, problems, exists)
    services = {service: run_overrides.apply(service, spec) for service, spec in found.services.items()}
    services = {service: with_host_name(service, spec, services) for service, spec in services.items()}
    dependencies = resolve_references(services, problems)
    services = resolve_sharing(services, dependencies, _with_share_set(raws, items), problems)
    stacks = {stack_id: _with_members(stack_id, stack, services) for stack_id, stack in found.stacks.items()}
    return Catalogue(
        services=services,
        stacks=stacks,
        dependencies=dependencies,
        raws=raws,
        groups=select_variants(load_groups(found.varied, raws, problems), chosen or {}, raws, problems),
        fresh=fresh,
        run_overrides=run_overrides,
        members=find_members(items, stacks, problems),
    )


def _with_share_set(raws: Mapping[ServiceId, RawService], items: Iterable[Declared]) -> set[ServiceId]:
    """The services of which their users have said how they are shared, or have said it of their stack."""
    stacks = {
        StackId(item.namespace, item.name)
        for item in items
        if isinstance(item.raw, RawStack) and "share" in item.raw.options
    }
    return {service for service, raw in raws.items() if service.stack in stacks or "share" in merge_layers(raw.layers)}


def _with_members(stack_id: StackId, stack: StackSpec, services: Mapping[ServiceId, ServiceSpec]) -> StackSpec:
    """A stack with its members as they are now; they are all shared alike."""
    members = tuple(services[ServiceId(stack_id, member.name)] for member in stack.services)
    return replace(stack, services=members, share=members[0].share if members else stack.share)


def _reading_order(problem: Problem) -> tuple[str, int, str]:
    file, _, line = problem.place.rpartition(":")
    return (file, int(line), problem.subject) if line.isdigit() else (problem.place, 0, problem.subject)


def _check_duplicates(same: Sequence[Declared]) -> Iterable[Problem]:
    """The project's own files must not declare a name twice for the same tests."""
    first, *others = [d for d in same if d.raw.location.file.endswith(_PROJECT_FILES)] or same[:1]
    for other in others:
        reason = f"two services with one name; the other is declared at {first.raw.location}"
        yield InvalidValue(reason, hint="rename one of them").at(other.raw.location, other.name)


def _find_wrong_names(declared: Declared, reserved: frozenset[str]) -> Iterable[InvalidValue]:
    if "::" in declared.namespace:
        reason = f"declared in the class {declared.namespace.rpartition('::')[2]}"
        yield InvalidValue(reason, hint="declare it in the module or a conftest.py")
    for name in (declared.name, *(declared.raw.members if isinstance(declared.raw, RawStack) else ())):
        hint = f"choose another name, such as {name}_service"
        if name == SELF:
            yield InvalidValue("the name 'self' is reserved", hint=hint)
        elif name in reserved and name == declared.name:
            yield InvalidValue(f"the fixture name {name!r} is reserved by pytest or pytest-django", hint=hint)
        elif not name.isidentifier() or keyword.iskeyword(name):
            yield InvalidValue(f"{name!r} cannot be the name of a fixture", "a Python name, such as orders_db")
