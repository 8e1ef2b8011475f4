"""Tests that need not wait come first; modules, packages and groups stay in one piece."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.planning.ready_order import OrderedTest, order_ready_first


def make(*words: str) -> list[OrderedTest]:
    """Tests from words such as `package/module`, with `!` where one waits and `@group` for a group."""
    tests = []
    for word in words:
        path, _, group = word.partition("@")
        units = tuple(path.rstrip("!").split("/"))
        tests.append(OrderedTest(units=units, group=group, waits=path.endswith("!")))
    return tests


def test_modules_that_need_nothing_come_first_in_their_own_order() -> None:
    tests = make("a!", "b", "c!", "d")
    assert order_ready_first(tests) == [1, 3, 0, 2]


def test_a_module_of_which_one_test_waits_stays_as_it_is() -> None:
    tests = make("a", "a!", "a", "b")
    assert order_ready_first(tests) == [3, 0, 1, 2]


def test_a_package_stays_in_one_piece() -> None:
    tests = make("p/a!", "p/b", "c", "q/d")
    assert order_ready_first(tests) == [2, 3, 1, 0]


def test_a_module_beside_packages_is_a_unit_as_they_are() -> None:
    assert order_ready_first(make("p/a!", "b!", "p/c")) == [2, 0, 1]


def test_groups_of_lasting_parameters_stay_in_their_order() -> None:
    tests = make("a!@one", "b@one", "a@two", "b!@two", "c@two")
    assert order_ready_first(tests) == [1, 0, 2, 4, 3]


def test_what_has_begun_stays_first() -> None:
    tests = make("p/a!", "p/b", "c")
    assert order_ready_first(tests, ("p", "a")) == [0, 1, 2]
    assert order_ready_first(tests, ("p", "x")) == [1, 0, 2]
    assert order_ready_first(tests, ("c",)) == [2, 1, 0]


def test_nothing_is_nothing() -> None:
    assert order_ready_first([]) == []


UNITS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple)
TESTS = st.lists(st.builds(OrderedTest, units=UNITS, group=st.sampled_from("xy"), waits=st.booleans()), max_size=12)


@given(TESTS, UNITS)
def test_no_test_is_lost_and_no_unit_or_group_comes_in_more_pieces(
    tests: list[OrderedTest], current: tuple[str, ...]
) -> None:
    order = order_ready_first(tests, current)
    assert sorted(order) == list(range(len(tests)))
    ordered = [tests[place] for place in order]
    assert [test.group for test in ordered] == [test.group for test in tests]
    for depth in (1, 2, 3):
        pieces = [len(list(groupby((t.group, t.units[:depth]) for t in some))) for some in (tests, ordered)]
        assert pieces[1] <= pieces[0]
