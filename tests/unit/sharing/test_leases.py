"""Who holds how much of the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pytest_isolate.model.resources import Resources
from pytest_isolate.model.service import MIB
from pytest_isolate.sharing.leases import Lease, Refused, grant, is_its_turn, promote, release, release_holder, retain


def amount(memory: int, containers: int = 1) -> Resources:
    return Resources(memory_bytes=memory * MIB, containers=containers)


def lease(name: str, memory: int = 100, holder: str = "", claim: Resources | None = None) -> Lease:
    return Lease(name=name, room=amount(memory), holder=holder, max_claim=claim or Resources())


def passing(name: str, holder: str, *, memory: int = 100, claim: Resources | None = None) -> Lease:
    """A lease that ends before the run does."""
    return lease(name, memory, holder, claim or amount(memory))


BUDGET = amount(1000, 3)
names = st.text("abcdef", min_size=1, max_size=2)
holders = st.sampled_from(["", "gw0", "gw1"])
lasting_leases = st.builds(lease, names, st.integers(0, 800), holders)
claims = st.builds(amount, st.integers(0, 1000), st.integers(1, 3))
passing_leases = st.builds(passing, names, holders, memory=st.integers(0, 800), claim=claims)
leases = lasting_leases | passing_leases


@given(st.lists(leases, max_size=12))
def test_never_more_is_granted_than_the_budget_holds(wanted: list[Lease]) -> None:
    table: tuple[Lease, ...] = ()
    for one in wanted:
        granted = grant(table, one, BUDGET)
        table = table if isinstance(granted, Refused) else granted

    assert sum((held.room for held in table), Resources()).fits(BUDGET)


@given(st.lists(leases, max_size=12), leases)
def test_what_was_refused_is_granted_once_everything_is_given_back(wanted: list[Lease], last: Lease) -> None:
    table: tuple[Lease, ...] = ()
    for one in wanted:
        granted = grant(table, one, BUDGET)
        table = table if isinstance(granted, Refused) else granted
    for held in table:
        table = release(table, held.name)

    assert grant(table, last, BUDGET) == (last,)


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
    table = (lease("db", 600), passing("auth", "gw1", claim=amount(300, 2)))

    assert grant(table, lease("new", 401), BUDGET) == Refused(
        "900 of 1000 MiB and 3 of 3 containers are taken or claimed; running: auth (gw1), db"
    )


def test_a_refusal_of_an_empty_table_blames_nobody() -> None:
    assert grant((), lease("new", 2000), BUDGET) == Refused(
        "0 of 1000 MiB and 0 of 3 containers are taken or claimed; running: nothing"
    )


def test_what_the_run_shares_is_granted_again_for_nothing() -> None:
    full = (lease("a", 1000),)

    assert grant(full, lease("a", 1000), BUDGET) == full


def test_what_runs_again_before_it_has_gone_counts_twice() -> None:
    table = grant((passing("a", "gw0"),), passing("a", "gw0"), BUDGET)

    assert table == (passing("a", "gw0"), passing("a", "gw0"))
    assert release(table, "a") == (passing("a", "gw0"),)


def test_what_a_worker_has_claimed_is_kept_for_it() -> None:
    claim = amount(300, 2)
    table = (passing("a", "gw0", claim=claim),)

    assert isinstance(grant(table, passing("b", "gw1", claim=claim), BUDGET), Refused)
    granted = grant(table, passing("b", "gw1"), BUDGET)
    assert not isinstance(granted, Refused)
    assert not isinstance(grant(granted, passing("c", "gw0", claim=claim), BUDGET), Refused)


def test_a_first_piece_is_granted_only_together_with_the_claim() -> None:
    claim = amount(100, 3)

    assert isinstance(grant((lease("db"),), passing("a", "gw0", claim=claim), BUDGET), Refused)


def test_a_claim_ends_with_the_last_lease_that_makes_it() -> None:
    claim = amount(1000, 3)
    table = release((passing("a", "gw0", claim=claim), passing("b", "gw0", claim=claim)), "a")
    other = passing("c", "gw1")

    assert isinstance(grant(table, other, BUDGET), Refused)
    assert grant(release(table, "b"), other, BUDGET) == (other,)


def test_what_has_ended_and_is_not_removed_yet_counts_beside_the_claim() -> None:
    table = tuple(passing(name, "gw0", claim=amount(200, 2)) for name in "abc")

    assert isinstance(grant(table, passing("d", "gw0", claim=amount(200, 2)), BUDGET), Refused)


def test_what_is_ahead_of_its_test_has_a_claim_beside_that_of_the_running_one() -> None:
    claim = amount(300, 1)
    table = (passing("a", "gw0", claim=claim),)
    ahead = replace(passing("b", "gw0", claim=claim), prefetched_for="test_b")

    granted = grant(table, ahead, BUDGET)
    assert not isinstance(granted, Refused)
    assert isinstance(grant(granted, passing("c", "gw1", memory=401), BUDGET), Refused)
    assert not isinstance(grant(promote(granted, {"b"}), passing("c", "gw1", memory=401), BUDGET), Refused)


@pytest.mark.parametrize(
    ("granted", "may"),
    [
        ("", "a"),
        ("a", "abc"),
        ("b", "abc"),
        ("c", "ab"),
        ("ac", "abcd"),
    ],
)
def test_each_test_s_first_piece_comes_before_what_is_ahead_of_a_later_one(granted: str, may: str) -> None:
    tests = ["ab", "c", "", "d"]
    asked = {name for name in "abcd" if is_its_turn(name, tests, granted)}

    assert asked == set(may) | set("ab")


def test_what_will_stay_to_the_end_has_its_room_before_it_starts() -> None:
    assert isinstance(grant((), passing("a", "gw0", memory=401), BUDGET, amount(600)), Refused)
    table = grant((), passing("a", "gw0", memory=400), BUDGET, amount(600))
    assert not isinstance(table, Refused)
    assert not isinstance(grant(table, lease("db", 600), BUDGET, amount(600)), Refused)


def test_more_that_stays_than_was_foreseen_counts_too() -> None:
    assert isinstance(grant((lease("db", 600),), passing("a", "gw0", memory=401), BUDGET, amount(100)), Refused)


def test_released_leases_are_gone_and_the_others_stay() -> None:
    table = (lease("a"), lease("b"))

    assert release(table, "a") == (lease("b"),)
    assert release(table, "unknown") == table


def test_a_dead_worker_gives_back_what_was_its_own_only() -> None:
    table = [lease("shared"), lease("mine", holder="gw1"), lease("other", holder="gw10")]

    assert release_holder(table, "gw1") == (lease("shared"), lease("other", holder="gw10"))


def test_what_is_kept_has_its_room_beside_all_that_may_still_come() -> None:
    table = (passing("one", "gw0"), passing("two", "gw1"))

    kept = retain(table, "one", amount(100), BUDGET, amount(500, 2))

    assert not isinstance(kept, Refused)
    assert [each.name for each in kept] == ["two", "kept 0 one"]
    assert not isinstance(grant(kept, passing("three", "gw0", memory=801), BUDGET), tuple)
    assert isinstance(grant(kept, passing("three", "gw0", memory=500), BUDGET), tuple)


def test_nothing_is_kept_for_which_others_would_have_to_wait_for_ever() -> None:
    table: tuple[Lease, ...] | Refused = (passing("one", "gw0"), passing("two", "gw0"))
    table = retain(table, "one", amount(100), BUDGET, amount(500, 2))
    assert not isinstance(table, Refused)

    assert isinstance(retain(table, "two", amount(100), BUDGET, amount(500, 2)), Refused)


def test_what_a_worker_has_kept_outlives_it() -> None:
    table = retain((passing("one", "gw0"),), "one", amount(100), BUDGET, amount(500, 2))
    assert not isinstance(table, Refused)

    assert release_holder(table, "gw0") == table
