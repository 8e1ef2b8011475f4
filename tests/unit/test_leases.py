"""Who holds how much of the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.model.service import MIB
from pytest_isolate.sharing.leases import Budget, Lease, Refused, grant, release, release_holder

BUDGET = Budget(memory_bytes=1000 * MIB, containers=3)
names = st.text("abcdef", min_size=1, max_size=2)
leases = st.builds(
    Lease, name=names, memory_bytes=st.integers(0, 800 * MIB), holder=st.sampled_from(["", "gw0", "gw1"])
)


def lease(name: str, memory: int = 100, holder: str = "") -> Lease:
    return Lease(name=name, memory_bytes=memory * MIB, holder=holder)


@given(st.lists(leases, max_size=12))
def test_never_more_is_granted_than_the_budget_holds(wanted: list[Lease]) -> None:
    table: tuple[Lease, ...] = ()
    for one in wanted:
        granted = grant(table, one, BUDGET)
        table = table if isinstance(granted, Refused) else granted

    assert sum(held.memory_bytes for held in table) <= BUDGET.memory_bytes
    assert len(table) <= BUDGET.containers
    assert len({held.name for held in table}) == len(table)


@given(st.lists(leases, max_size=12), leases)
def test_what_was_refused_is_granted_once_everything_is_given_back(wanted: list[Lease], last: Lease) -> None:
    table: tuple[Lease, ...] = ()
    for one in wanted:
        granted = grant(table, one, BUDGET)
        table = table if isinstance(granted, Refused) else granted

    assert grant(release(table, {held.name for held in table}), last, BUDGET) == (last,)


def test_what_fits_exactly_is_granted() -> None:
    assert grant((lease("a", 600),), lease("b", 400), BUDGET) == (lease("a", 600), lease("b", 400))


@pytest.mark.parametrize(
    "table",
    [(lease("a", 600),), (lease("a", 0), lease("b", 0), lease("c", 0))],
    ids=["memory", "containers"],
)
def test_what_does_not_fit_is_refused(table: tuple[Lease, ...]) -> None:
    assert isinstance(grant(table, lease("new", 401), BUDGET), Refused)


def test_a_refusal_says_who_has_what() -> None:
    refused = grant((lease("db", 600), lease("auth", 300)), lease("new", 401), BUDGET)

    assert refused == Refused("900 of 1000 MiB and 2 of 3 containers are taken by auth, db")


def test_a_refusal_of_an_empty_table_blames_nobody() -> None:
    assert grant((), lease("new", 2000), BUDGET) == Refused("0 of 1000 MiB and 0 of 3 containers are taken by nobody")


def test_what_is_there_already_is_granted_again_for_nothing() -> None:
    full = (lease("a", 1000),)

    assert grant(full, lease("a", 1000), BUDGET) == full


def test_released_leases_are_gone_and_the_others_stay() -> None:
    assert release([lease("a"), lease("b"), lease("c")], {"a", "c", "unknown"}) == (lease("b"),)


def test_a_dead_worker_gives_back_what_was_its_own_only() -> None:
    table = [lease("shared"), lease("mine", holder="gw1"), lease("other", holder="gw10")]

    assert release_holder(table, "gw1") == (lease("shared"), lease("other", holder="gw10"))


def test_a_budget_is_told_in_words() -> None:
    assert str(BUDGET) == "1000 MiB and 3 containers"
