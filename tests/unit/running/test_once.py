"""Things that are made once, whoever asks first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_isolate.running.once import Once

THREADS = 50


def race(work: Callable[[], object]) -> list[object]:
    """What each of 50 threads gets that do the same at the same moment; an error counts as what it got."""
    barrier = threading.Barrier(THREADS)

    def run(_: int) -> object:
        barrier.wait()
        try:
            return work()
        except BaseException as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_a_thing_is_made_once_for_all_who_ask_at_the_same_moment() -> None:
    made: list[object] = []
    once: Once[str, object] = Once()

    results = race(lambda: once.get("key", lambda: made.append(object()) or made[-1]))

    assert len(made) == 1
    assert set(map(id, results)) == {id(made[0])}


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_an_error_is_told_to_all_who_asked(error: BaseException) -> None:
    calls: list[int] = []
    once: Once[str, object] = Once()

    def fail() -> object:
        calls.append(1)
        raise error

    results = race(lambda: once.get("key", fail))

    assert len(calls) == 1
    assert set(map(id, results)) == {id(error)}


def test_each_key_has_a_thing_of_its_own() -> None:
    once: Once[int, int] = Once()

    assert [once.get(key, lambda key=key: key * 10) for key in (1, 2, 1)] == [10, 20, 10]
    assert once.keys() == [1, 2]


def test_things_of_different_keys_are_made_side_by_side() -> None:
    once: Once[int, int] = Once()
    both = threading.Barrier(2, timeout=5)

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(once.get, key, both.wait) for key in (1, 2)]

    assert sorted(f.result() for f in futures) == [0, 1]


def test_what_is_forgotten_is_returned_and_made_anew() -> None:
    once: Once[str, int] = Once()
    once.get("key", lambda: 1)

    assert once.pop("key") == 1
    assert once.get("key", lambda: 2) == 2


def test_forgetting_what_was_never_made_gives_nothing() -> None:
    assert Once().pop("key") is None


def test_forgetting_what_failed_gives_nothing_and_lets_it_be_tried_again() -> None:
    once: Once[str, int] = Once()
    with pytest.raises(ZeroDivisionError):
        once.get("key", lambda: 1 // 0)

    assert once.pop("key") is None
    assert once.get("key", lambda: 3) == 3


def test_forgetting_waits_for_what_is_being_made() -> None:
    once: Once[str, int] = Once()
    begun, go_on = threading.Event(), threading.Event()

    def make() -> int:
        begun.set()
        go_on.wait(5)
        return 1

    with ThreadPoolExecutor(2) as pool:
        making = pool.submit(once.get, "key", make)
        begun.wait(5)
        forgetting = pool.submit(once.pop, "key")
        go_on.set()

    assert (making.result(), forgetting.result()) == (1, 1)
