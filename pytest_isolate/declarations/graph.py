"""Start order, and dependency cycles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

Node = TypeVar("Node")


def find_cycle(dependencies: Mapping[Node, Iterable[Node]]) -> tuple[Node, ...]:
    """A cycle of nodes that need each other, first node repeated at the end; empty where there is none."""
    try:
        TopologicalSorter(dependencies).prepare()
    except CycleError as error:
        # graphlib lists a cycle from the needed node to the one that needs it.
        return tuple(reversed(error.args[1]))
    return ()


def reachable(start: Iterable[Node], edges: Mapping[Node, Iterable[Node]]) -> frozenset[Node]:
    """These nodes, and every one that edges lead to from them."""
    found: set[Node] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += edges.get(node, ())
    return frozenset(found)


def build_start_order(wanted: Iterable[Node], dependencies: Mapping[Node, Iterable[Node]]) -> tuple[Node, ...]:
    """Every wanted node behind all that it needs, otherwise in the order wanted. The graph must have no cycle."""
    ordered: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node in ordered:
            return
        for needed in dependencies.get(node, ()):
            visit(needed)
        ordered[node] = None

    for node in wanted:
        visit(node)
    return tuple(ordered)
