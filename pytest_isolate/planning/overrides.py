"""Markers' changes, resolved to the services that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from pytest_isolate.declarations.keys import LASTING_KEYS
from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.declarations.references import is_within, visible_services
from pytest_isolate.declarations.variants import copies_of
from pytest_isolate.errors import Problem, suggest
from pytest_isolate.model.declaration import Layer, RawOverride, in_words
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.per_test import Overrides

_TABLE = 'a table of changes, such as {"env": {"REALM": "lab"}}'


def resolve_overrides(
    markers: Sequence[RawOverride], catalogue: Catalogue, test: str, problems: list[Problem]
) -> Overrides:
    """The changes by service, those of later markers on top; what is wrong goes to `problems` and is left out."""
    found: dict[ServiceId, tuple[Layer, ...]] = {}
    services, stacks = visible_services(catalogue.raws, test), _visible_stacks(catalogue, test)
    for marker in markers:
        if marker.stray:
            hint = 'such as @pytest.mark.isolate(auth={"env": {...}})'
            problems.append(_problem(marker, "", f"{marker.stray[0]!r} names no service", "services by name", hint))
        for name, written in marker.values.items():
            stack = stacks.get(name)
            if stack and not (name in services and len(services[name].stack.namespace) > len(stack.namespace)):
                layers = _of_stack(marker, name, written, stack, catalogue, problems)
            elif name in services:
                changed = copies_of(services[name], catalogue.raws)
                layers = dict.fromkeys(changed, _layer(marker, name, written, problems))
            else:
                names = [*services, *stacks]
                reason = f"unknown service or stack {name!r}{suggest(name, names)}"
                problems.append(_problem(marker, name, reason, ", ".join(names) or "none is declared for this test"))
                continue
            for service_id, layer in layers.items():
                found[service_id] = (*found.get(service_id, ()), layer)
    return found


def name_test(problems: Iterable[Problem], test: str) -> list[Problem]:
    """The problems of a test's overrides, with its name."""
    return [replace(problem, subject=f"{problem.subject} (for {test})") for problem in problems]


def _visible_stacks(catalogue: Catalogue, node: str) -> dict[str, StackId]:
    near = [stack for stack in catalogue.stacks if is_within(node, stack.namespace)]
    return {stack.name: stack for stack in sorted(near, key=lambda stack: len(stack.namespace))}


def _of_stack(
    marker: RawOverride,
    name: str,
    written: object,
    stack: StackId,
    catalogue: Catalogue,
    problems: list[Problem],
) -> Mapping[ServiceId, Layer]:
    members = [s.name for s in catalogue.raws if s.stack == stack]
    if not isinstance(written, Mapping):
        valid = f'a table of its services, such as {{"{members[0]}": {{...}}}}' if members else ""
        problems.append(_problem(marker, name, f"{in_words(written)} does not say what changes in a stack", valid))
        return {}
    layers = {}
    for member, changes in written.items():
        if member in members:
            layers[ServiceId(stack, member)] = _layer(marker, f"{name}.{member}", changes, problems)
        else:
            reason = f"unknown service {member!r}{suggest(member, members)}"
            problems.append(_problem(marker, name, reason, ", ".join(members)))
    return layers


def _layer(marker: RawOverride, name: str, changes: object, problems: list[Problem]) -> Layer:
    table: dict[str, object] = {}
    if isinstance(changes, Mapping):
        table = {key: value for key, value in changes.items() if key not in LASTING_KEYS}
        for key in set(LASTING_KEYS) & set(changes):
            hint = f"another service, with {key}= of its own"
            problems.append(_problem(marker, f"{name}.{key}", "belongs to the fixture, not to a test", hint=hint))
    else:
        problems.append(_problem(marker, name, f"{changes!r} does not say what changes", _TABLE))
    return Layer(values=table, location=marker.location)


def _problem(marker: RawOverride, key: str, reason: str, valid: str = "", hint: str = "") -> Problem:
    subject = f"isolate({key})" if key else "isolate()"
    return Problem(place=str(marker.location), subject=subject, reason=reason, valid=valid, hint=hint)
