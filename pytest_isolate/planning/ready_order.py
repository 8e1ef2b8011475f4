"""The order of tests in which those run first that need not wait for a service."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby

from msgspec import Struct


class OrderedTest(Struct, frozen=True, kw_only=True):
    """One test of those that are to be ordered.

    `units` are its packages and its module, the outermost first: each stays in one piece, and in its own order within a
    module. `group` is the value of parameters that last for more than a module: pytest has put tests together by it.
    """

    units: tuple[Hashable, ...]
    group: Hashable = None
    waits: bool = False
    """True where a service that it needs is not ready."""


def order_ready_first(tests: Sequence[OrderedTest], current: Sequence[Hashable] = ()) -> list[int]:
    """The places of these tests, in a new order. What is `current`, the units of the test before them, stays first."""
    order: list[int] = []
    for number, (_, group) in enumerate(groupby(range(len(tests)), key=lambda place: tests[place].group)):
        order += _ordered(list(group), tests, 0, () if number else current)
    return order


def _ordered(
    places: Sequence[int], tests: Sequence[OrderedTest], depth: int, current: Sequence[Hashable]
) -> Iterator[int]:
    found = groupby(places, key=lambda place: tests[place].units[depth : depth + 1])
    units = [(unit, list(members)) for unit, members in found]
    has_begun = bool(units and current) and units[0][0] == tuple(current[:1])
    begun, others = (units[:1], units[1:]) if has_begun else ([], units)
    others.sort(key=lambda unit: any(tests[place].waits for place in unit[1]))
    for number, (unit, members) in enumerate([*begun, *others]):
        if unit:
            yield from _ordered(members, tests, depth + 1, current[1:] if has_begun and not number else ())
        else:
            yield from members
