"""Alternatives that the command line chooses, or adds: --isolate-variant NAME=ALTERNATIVE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.declarations.variants import Alternative, Axis, Group, image_name
from pytest_isolate.errors import Problem, suggest
from pytest_isolate.model.declaration import RawService
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ServiceId

OPTION = "--isolate-variant"
Chosen = Mapping[str, Sequence[str]]
"""By service, what was named for it: a declared alternative, or an image."""


def select_variants(
    groups: Iterable[Group], chosen: Chosen, raws: Mapping[ServiceId, RawService], problems: list[Problem]
) -> tuple[Group, ...]:
    """The groups with the chosen alternatives only; a service that has no variants gets those that are named."""
    narrowed = list(groups)
    for name, values in chosen.items():
        named = [service for service in raws if service.name == name and not service.stack.name]
        if not named:
            problems.append(_unknown_service(name, values, raws))
        known = [a for g in narrowed for axis in g.axes if axis.service in named for a in axis.alternatives]
        problems += _check_values(name, values, known) if named else ()
        varied = {axis.service for group in narrowed for axis in group.axes}
        narrowed += [_build_group(service, raws[service], values) for service in named if service not in varied]
        for service in set(named) & varied:
            narrowed = [_narrow(group, service, values, raws[service]) for group in narrowed]
    return tuple(narrowed)


def _narrow(group: Group, service: ServiceId, values: Iterable[str], raw: RawService) -> Group:
    """A group whose rows have only these alternatives of a service; images that are new take part in every row."""
    column = next((n for n, axis in enumerate(group.axes) if axis.service == service), None)
    if column is None:
        return group
    axis = group.axes[column]
    kept = {a.name for a in axis.alternatives if any(_is_named(a, value) for value in values)}
    known = [value for value in values if any(_is_named(a, value) for a in axis.alternatives)]
    added = [_alternative(raw, value) for value in values if value not in known and _is_image(value)]
    if not kept and not added:
        return group  # they are alternatives of another service of that name
    rows = [row for row in group.rows if row[column] in kept]
    rows += [(*row[:column], a.name, *row[column + 1 :]) for row in group.rows for a in added]
    alternatives = (*(a for a in axis.alternatives if a.name in kept), *added)
    axes = (*group.axes[:column], replace(axis, alternatives=alternatives), *group.axes[column + 1 :])
    return replace(group, axes=axes, rows=tuple(dict.fromkeys(rows)))


def _build_group(service: ServiceId, raw: RawService, values: Iterable[str]) -> Group:
    alternatives = tuple(_alternative(raw, value) for value in values if _is_image(value))
    return Group(
        name=OPTION,
        namespace=service.stack.namespace,
        axes=(Axis(service=service, alternatives=alternatives),),
        rows=tuple((a.name,) for a in alternatives),
        location=_location(),
    )


def _alternative(raw: RawService, image: str) -> Alternative:
    return Alternative(name=image_name(image), raw=raw.changed({"image": image}, _location()))


def _location() -> Location:
    return Location(file=OPTION)


def _is_named(alternative: Alternative, value: str) -> bool:
    """True where a value is an alternative's name, or its image."""
    images = (layer.values["image"] for layer in reversed(alternative.raw.layers) if "image" in layer.values)
    return value in (alternative.name, next(images, None))


def _is_image(value: str) -> bool:
    return any(sign in value for sign in ":/@")


def _check_values(name: str, values: Iterable[str], known: Sequence[Alternative]) -> Iterable[Problem]:
    names = list(dict.fromkeys(a.name for a in known))
    for value in values:
        if not _is_image(value) and not any(_is_named(a, value) for a in known):
            reason = f"{name!r} has no alternative {value!r}{suggest(value, names)}"
            valid = ", ".join([*names, "an image with its tag, such as postgres:17"])
            yield InvalidValue(reason, valid).at(OPTION, f"{name}={value}")


def _unknown_service(name: str, values: Sequence[str], raws: Iterable[ServiceId]) -> Problem:
    names = sorted({service.name for service in raws if not service.stack.name})
    reason = f"unknown service {name!r}{suggest(name, names)}"
    valid = ", ".join(names) or "none: no service is declared outside of a stack"
    return InvalidValue(reason, valid).at(OPTION, f"{name}={values[0]}")
