"""Removing everything that is ours, also when something stands in the way."""

from __future__ import annotations

import pytest

from pytest_isolate.errors import CleanupError
from pytest_isolate.running.cleanup.remove import remove_all, remove_all_before
from unit.builders import FakeClock
from unit.stub_engine import StubEngine

LABELS = {"pytest-isolate.run": "abcd", "pytest-isolate.worker": "gw1"}


@pytest.fixture
def engine() -> StubEngine:
    stub = StubEngine()
    stub.objects = {"container": ["c1", "c2", "c3"], "volume": ["v1"], "network": ["n1", "n2"]}
    return stub


def test_everything_is_removed(engine: StubEngine) -> None:
    remove_all(engine, LABELS)

    assert engine.objects == {"container": [], "volume": [], "network": []}


def test_only_what_carries_the_labels_is_asked_for(engine: StubEngine) -> None:
    remove_all(engine, LABELS)

    assert engine.asked_with == 3 * [LABELS]


def test_containers_go_first_because_they_use_the_rest(engine: StubEngine) -> None:
    remove_all(engine, LABELS)

    assert [call.split()[0] for call in engine.calls] == 3 * ["container"] + ["volume"] + 2 * ["network"]


def test_where_there_is_nothing_there_is_nothing_to_do() -> None:
    engine = StubEngine()

    remove_all(engine, LABELS)

    assert (engine.asked_with, engine.calls) == (3 * [LABELS], [])


@pytest.mark.parametrize("stuck", ["c1", "c2", "v1", "n1"])
def test_an_error_keeps_nothing_else_from_being_removed(engine: StubEngine, stuck: str) -> None:
    engine.stuck = {stuck}

    with pytest.raises(CleanupError):
        remove_all(engine, LABELS)

    assert [name for names in engine.objects.values() for name in names] == [stuck]


def test_a_list_that_cannot_be_had_keeps_nothing_else_from_being_removed(engine: StubEngine) -> None:
    engine.silent = {"container"}

    with pytest.raises(CleanupError):
        remove_all(engine, LABELS)

    assert engine.objects == {"container": ["c1", "c2", "c3"], "volume": [], "network": []}


def test_the_error_names_all_that_is_left_and_how_to_remove_it_by_hand(engine: StubEngine) -> None:
    engine.stuck, engine.silent = {"c2", "n1"}, {"volume"}

    with pytest.raises(CleanupError) as caught:
        remove_all(engine, LABELS)

    filters = "--filter label=pytest-isolate.run=abcd --filter label=pytest-isolate.worker=gw1"
    assert str(caught.value) == (
        "3 container objects could not be removed\n"
        "  found  container 'c2' could not be removed\n"
        "           found  busy\n"
        "         the volumes could not be listed\n"
        "           found  no answer\n"
        "         network 'n1' could not be removed\n"
        "           found  busy\n"
        "  do     once the engine answers again:\n"
        f"         docker rm -fv $(docker ps -aq {filters})\n"
        f"         docker volume rm $(docker volume ls -q {filters})\n"
        f"         docker network rm $(docker network ls -q {filters})"
    )


def test_what_succeeds_is_not_tried_again(engine: StubEngine, clock: FakeClock) -> None:
    remove_all_before(engine, LABELS, clock, 10)

    assert clock.pauses == []


def test_what_fails_is_tried_again_until_it_succeeds(engine: StubEngine, clock: FakeClock) -> None:
    engine.silent = {"container", "volume", "network"}

    def come_back(now: float) -> None:
        if now >= 1003:
            engine.silent = set()

    clock.after = come_back
    remove_all_before(engine, LABELS, clock, 10)

    assert engine.objects == {"container": [], "volume": [], "network": []}
    assert clock.pauses == sorted(clock.pauses)


def test_what_goes_on_failing_is_reported_after_the_deadline(engine: StubEngine, clock: FakeClock) -> None:
    engine.stuck = {"v1"}

    with pytest.raises(CleanupError, match="v1"):
        remove_all_before(engine, LABELS, clock, 10)

    assert 10 <= clock.now() - 1000 <= 12
    assert max(clock.pauses) <= 2
