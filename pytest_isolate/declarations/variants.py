"""Alternatives of services as declared: checked, named, and combined into rows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from pytest_isolate.declarations.keys import LASTING_KEYS
from pytest_isolate.declarations.references import visible_services
from pytest_isolate.declarations.testcontainers import unfold
from pytest_isolate.declarations.values import InvalidValue, parse_word
from pytest_isolate.errors import Problem, suggest
from pytest_isolate.model.declaration import Declared, Preset, RawService, RawVariants, in_words
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ServiceId

MODES: Mapping[str, Callable[..., Iterable[tuple[str, ...]]]] = {"product": itertools.product, "zip": zip}
_NAME = re.compile(r"[^\s\[\],=]+")
_LONGEST_NAME = 32
_VALID = (
    "a preset such as postgres('16'), an image's name, a table of changes, another service, or a container of "
    "testcontainers"
)


class Alternative(Struct, frozen=True, kw_only=True):
    """One form that a service can have: its readable name, and its declaration in that form."""

    name: str
    raw: RawService


class Axis(Struct, frozen=True, kw_only=True):
    """A service and its alternatives."""

    service: ServiceId
    alternatives: tuple[Alternative, ...]


class Group(Struct, frozen=True, kw_only=True):
    """One variants(), for the tests at or below its place: each row names an alternative of each axis."""

    name: str
    namespace: str
    axes: tuple[Axis, ...]
    rows: tuple[tuple[str, ...], ...]
    location: Location


def load_groups(
    declared: Iterable[Declared], raws: Mapping[ServiceId, RawService], problems: list[Problem]
) -> tuple[Group, ...]:
    """The checked groups; what is wrong goes to `problems` and is left out."""
    groups = []
    for item in declared:
        assert isinstance(item.raw, RawVariants)
        axes = [_load_axis(item, item.raw, name, raws, problems) for name in item.raw.services]
        if not axes:
            wrong = InvalidValue("variants of nothing", "the name of a service, and its alternatives")
            problems.append(wrong.at(item.raw.location, item.name))
        groups.append(_build_group(item, item.raw, [axis for axis in axes if axis], problems))
    problems += _check_varied_once(groups)
    return tuple(groups)


def copies_of(service: ServiceId, raws: Mapping[ServiceId, RawService]) -> tuple[ServiceId, ...]:
    """The service, and the members of stacks that are copies of it: whatever changes it changes them too."""
    base = raws[service].layers
    depth = len(base)  # a copy has the very layers of what it copies, and its own on top
    members = (s for s, r in raws.items() if s.stack.name and [*map(id, r.layers[:depth])] == [*map(id, base)])
    return (service, *sorted(members))


class _Context(Struct, frozen=True, kw_only=True):
    """One service of a declaration of variants, and the list of what is wrong."""

    item: Declared
    name: str
    visible: Mapping[str, ServiceId]
    raws: Mapping[ServiceId, RawService]
    problems: list[Problem]

    def refuse(self, key: str, reason: str, valid: str = "", hint: str = "") -> None:
        wrong = InvalidValue(reason, valid, hint=hint)
        self.problems.append(wrong.at(self.item.raw.location, self.item.name, self.name + key))


def _load_axis(
    item: Declared, raw: RawVariants, name: str, raws: Mapping[ServiceId, RawService], problems: list[Problem]
) -> Axis | None:
    visible = visible_services(raws, item.namespace)
    context = _Context(item=item, name=name, visible=visible, raws=raws, problems=problems)
    if name not in visible:
        valid = ", ".join(visible) or "none: no service is declared where these variants are"
        context.refuse("", f"unknown service {name!r}{suggest(name, list(visible))}", valid)
        return None
    found = (_load_alternative(context, *one) for one in enumerate(_list_alternatives(context, raw.services[name])))
    alternatives = tuple(alternative for alternative in found if alternative)
    _check_names(context, alternatives)
    return Axis(service=visible[name], alternatives=alternatives) if alternatives else None


def _list_alternatives(context: _Context, written: object) -> list[tuple[object, object]]:
    """Each alternative with the name that it is given, if any."""
    named: list[tuple[object, object]] = []
    if isinstance(written, Mapping):
        named = list(written.items())
    elif isinstance(written, (list, tuple)):
        named = [(None, one) for one in written]
    if not named:
        reason = f"{in_words(written)} is not a list of alternatives"
        context.refuse("", reason, "a list with at least one, or a table with a name for each")
    return named


def _load_alternative(context: _Context, number: int, named: tuple[object, object]) -> Alternative | None:
    (given, one), key = named, f"[{number}]"
    raw = build_alternative(context.raws[context.visible[context.name]], one, context.item.raw.location)
    if raw is None:
        context.refuse(key, f"{in_words(one)} is not an alternative of a service", _VALID)
        return None
    for lasting in set(LASTING_KEYS).intersection(one if isinstance(one, Mapping) else ()):
        context.refuse(f"{key}.{lasting}", "belongs to the service, and is the same for all its alternatives")
    if given is None:
        names = {id(context.raws[service]): name for name, service in context.visible.items()}
        return Alternative(name=names.get(id(one)) or _derive_name(one, raw) or str(number + 1), raw=raw)
    if isinstance(given, str) and _NAME.fullmatch(given):
        return Alternative(name=given, raw=raw)
    context.refuse(key, f"{given!r} cannot name an alternative", "a word such as pg16")
    return None


def build_alternative(base: RawService, written: object, location: Location) -> RawService | None:
    """Build the service with an alternative in its place; None for what is no alternative.

    A preset takes the place of what the service is based on, and what the service changes about that stays. Another
    service takes its place as a whole.
    """
    if isinstance(written, RawService):
        return written.changed({}, location)
    if isinstance(written, Preset):
        own = [
            layer._replace(values={k: v for k, v in layer.values.items() if k not in ("image", "build")})
            for layer in base.layers
            if not layer.is_preset
        ]
        return RawService(layers=(*written.layers, *own)).changed({}, location)
    if isinstance(written, str):
        return base.changed({"image": written}, location)
    return base.changed(written, location) if isinstance(written, Mapping) else None


def _derive_name(written: object, raw: RawService) -> str:
    """A readable name: the image's, or what a table changes. Empty where there is none that is short."""
    if isinstance(written, Mapping) and set(written) - {"image"}:
        name = "+".join(_leaves(written))
        return name if len(name) <= _LONGEST_NAME else ""
    if isinstance(written, Mapping) and not written:
        return "declared"
    for values in map(unfold, (layer.values for layer in reversed(raw.layers))):
        if isinstance(values.get("image"), str):
            return image_name(str(values["image"]))
        build = values.get("build")
        context = build.get("context") if isinstance(build, Mapping) else build
        if context:
            return _slug(str(context).rstrip("/").rpartition("/")[2])
    return ""


def _leaves(table: Mapping[str, object]) -> Iterable[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield image_name(str(value)) if key == "image" else _slug(f"{key}-{value}")


def image_name(image: str) -> str:
    """An image's name as part of a test's id: `registry.example/db/postgres:16` is `postgres-16`."""
    name, _, digest = image.rpartition("/")[2].partition("@sha256:")
    return _slug(f"{name}-{digest[:8]}" if digest else name)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text).strip("-")


def _build_group(item: Declared, raw: RawVariants, axes: Sequence[Axis], problems: list[Problem]) -> Group:
    names = [[alternative.name for alternative in axis.alternatives] for axis in axes]
    combine: Callable[..., Iterable[tuple[str, ...]]] = itertools.product
    try:
        combine = MODES[parse_word(raw.mode, MODES, "is not a way to combine alternatives")]
        if raw.mode == "zip" and len({len(one) for one in names}) > 1:
            counts = ", ".join(f"{axis.service.name}: {len(one)}" for axis, one in zip(axes, names, strict=True))
            reason = f"mode 'zip' needs as many alternatives of each service ({counts})"
            raise InvalidValue(reason, "mode='product' for every combination")
    except InvalidValue as wrong:
        problems.append(wrong.at(item.raw.location, item.name, "mode"))
    rows = tuple(combine(*names)) if axes else ()
    return Group(name=item.name, namespace=item.namespace, axes=tuple(axes), rows=rows, location=raw.location)


def _check_names(context: _Context, alternatives: Iterable[Alternative]) -> None:
    seen: set[str] = set()
    for alternative in alternatives:
        if alternative.name in seen:
            hint = f"give them names: {context.name}={{'a name': ..., 'another': ...}}"
            context.refuse("", f"two alternatives are called {alternative.name!r}", hint=hint)
        seen.add(alternative.name)


def _check_varied_once(groups: Iterable[Group]) -> Iterable[Problem]:
    first: dict[tuple[str, ServiceId], Group] = {}
    for group in groups:
        for axis in group.axes:
            other = first.setdefault((group.namespace, axis.service), group)
            if other is not group:
                reason = f"{axis.service.name!r} has variants already, declared at {other.location}"
                wrong = InvalidValue(reason, hint="declare them in one place")
                yield wrong.at(group.location, group.name, axis.service.name)
