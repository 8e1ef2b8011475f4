"""Rows of alternatives: those that a test is run for, and those of everything that it does not reach."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.declarations.references import is_within
from pytest_isolate.declarations.variants import Alternative, Group, copies_of
from pytest_isolate.model.service import ServiceId
from pytest_isolate.planning.per_test import closure

Row = Mapping[ServiceId, tuple[Alternative, str]]
"""For each service that has alternatives at some place: one of them, and the place that declares it."""


class Variant(Struct, frozen=True):
    """One parameter of a test: an alternative of each varied service that it reaches."""

    picks: tuple[tuple[ServiceId, str], ...]

    def __str__(self) -> str:
        return ",".join(f"{service.name}={name}" for service, name in self.picks)


def visible_rows(groups: Iterable[Group], node: str) -> tuple[Row, ...]:
    """Every combination of alternatives that tests at a place can have; of the nearest declaration for each service.

    At least one, which is empty where nothing is varied.
    """
    visible = sorted((g for g in groups if is_within(node, g.namespace)), key=lambda g: len(g.namespace))
    nearest = {axis.service: group for group in visible for axis in group.axes}
    tables = [_project(group, [s for s, owner in nearest.items() if owner is group]) for group in visible]
    return tuple(
        {service: pick for part in parts for service, pick in part.items()}
        for parts in itertools.product(*(table for table in tables if table))
    )


def _project(group: Group, services: Collection[ServiceId]) -> list[Row]:
    """A group's rows as far as they are about these services, each once."""
    columns = [(n, axis) for n, axis in enumerate(group.axes) if axis.service in services]
    known = {(axis.service, a.name): a for _, axis in columns for a in axis.alternatives}
    distinct = dict.fromkeys(tuple((axis.service, row[n]) for n, axis in columns) for row in group.rows)
    return [{service: (known[service, name], group.namespace) for service, name in row} for row in distinct]


def expand(
    rows: Sequence[Row],
    services: Collection[ServiceId],
    adapted: Callable[[Row], Catalogue],
) -> tuple[Variant, ...]:
    """Parameters of a test that uses these services; none where it reaches no varied one.

    `adapted` is the catalogue as a row makes it: an alternative may need what another one does not need.
    """
    variants: dict[Variant, None] = {}
    for row in rows:
        variants[_reached(row, services, adapted(row))] = None
    return tuple(variant for variant in variants if variant.picks)


def _reached(row: Row, services: Collection[ServiceId], catalogue: Catalogue) -> Variant:
    """The part of a row that reaches these services."""
    reached = closure(catalogue, services)
    picks = [
        (service, alternative.name)
        for service, (alternative, _) in row.items()
        if reached.intersection(copies_of(service, catalogue.raws))
    ]
    return Variant(tuple(picks))


def picked_unasked(
    rows: Sequence[Row], variant: Variant | None, services: Collection[ServiceId], catalogue: Catalogue
) -> Variant:
    """The alternatives that a test has of these services although it is not run for each of them."""
    if len(rows) < 2:
        return Variant(())
    asked = dict(variant.picks) if variant else {}
    found = _reached(choose_row(rows, variant), services, catalogue)
    several = {service for service in rows[0] if len({row[service][0].name for row in rows}) > 1}
    return Variant(tuple(pick for pick in found.picks if pick[0] in several - asked.keys()))


def choose_row(rows: Sequence[Row], variant: Variant | None) -> Row:
    """The alternatives of one run of a test: the first ones, but for what the variant says."""
    if not rows:
        return {}
    chosen = dict(rows[0])
    for service, name in variant.picks if variant else ():
        chosen[service] = next(row[service] for row in rows if row[service][0].name == name)
    return chosen
