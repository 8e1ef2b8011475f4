"""Start order, and circles in it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.declarations.graph import build_start_order, find_cycle

Graph = dict[int, tuple[int, ...]]

nodes = st.integers(0, 7)
graphs = st.dictionaries(nodes, st.lists(nodes, max_size=4, unique=True).map(tuple), max_size=8)
# Edges point to smaller numbers only, so there is no circle.
acyclic = st.dictionaries(nodes, st.lists(nodes, max_size=4, unique=True).map(tuple)).map(
    lambda graph: {node: tuple(other for other in needed if other < node) for node, needed in graph.items()}
)


def reachable(graph: Graph, start: int) -> set[int]:
    """Everything that `start` needs, however indirectly."""
    seen: set[int] = set()
    todo = list(graph.get(start, ()))
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += graph.get(node, ())
    return seen


@given(graphs)
def test_a_circle_is_found_exactly_when_a_node_needs_itself_in_the_end(graph: Graph) -> None:
    assert bool(find_cycle(graph)) == any(node in reachable(graph, node) for node in graph)


@given(graphs)
def test_what_is_found_is_a_circle_in_which_each_needs_the_next(graph: Graph) -> None:
    cycle = find_cycle(graph)

    assert all(needed in graph[node] for node, needed in pairwise(cycle))
    assert not cycle or (cycle[0] == cycle[-1] and len(set(cycle)) == len(cycle) - 1)


def test_a_circle_is_told_in_the_direction_of_need() -> None:
    cycle = find_cycle({"web": ["auth"], "auth": ["db"], "db": ["web"]})

    assert "->".join(cycle) in "web->auth->db->web->auth->db->web"
    assert len(cycle) == 4


def test_a_service_that_needs_itself_is_a_circle() -> None:
    assert find_cycle({"db": ["db"]}) == ("db", "db")


def test_what_only_leads_into_a_circle_is_not_shown_as_a_part_of_it() -> None:
    assert set(find_cycle({"web": ["a"], "a": ["b"], "b": ["a"]})) == {"a", "b"}


def test_two_ways_to_the_same_service_are_no_circle() -> None:
    assert find_cycle({"web": ["a", "b"], "a": ["db"], "b": ["db"], "db": []}) == ()


@given(acyclic, st.lists(nodes))
def test_everything_comes_behind_what_it_needs(graph: Graph, wanted: list[int]) -> None:
    order = build_start_order(wanted, graph)

    assert all(order.index(needed) < order.index(node) for node in order for needed in graph.get(node, ()))


@given(acyclic, st.lists(nodes))
def test_everything_that_is_needed_comes_exactly_once(graph: Graph, wanted: list[int]) -> None:
    order = build_start_order(wanted, graph)

    assert len(order) == len(set(order))
    assert set(order) == set(wanted).union(*(reachable(graph, node) for node in wanted))


@given(acyclic, st.lists(nodes))
def test_the_order_is_the_same_each_time(graph: Graph, wanted: list[int]) -> None:
    assert build_start_order(wanted, graph) == build_start_order(wanted, dict(reversed(graph.items())))


def test_what_does_not_depend_on_each_other_keeps_the_order_wanted() -> None:
    assert build_start_order(["c", "a", "b"], {"a": ["d"]}) == ("c", "d", "a", "b")
