"""Starts that queue for the run's budget, and what can never fit."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pytest_isolate.errors import StartError
from pytest_isolate.model.scope import Scope
from pytest_isolate.model.service import MIB, UNLIMITED
from pytest_isolate.planning.placement import Instance, InstanceKey, Place, Where
from pytest_isolate.planning.plan import Demand, build_plan, peak_demand
from pytest_isolate.running.budget import BudgetKeeper, lease_name, machine_budget
from pytest_isolate.sharing.leases import Budget
from pytest_isolate.sharing.store import LeaseTable

from .builders import FakeClock, declare, load_all, make_run, raw, sid, spec


def instance(name: str, memory: int = 100, place: Place | None = None, fingerprint: str = "f") -> Instance:
    return Instance(
        key=InstanceKey(sid(name), place or Place(Scope.SESSION), fingerprint),
        spec=spec(name, memory_bytes=memory * MIB),
        native_ports=False,
        dependencies=(),
        room=1,
        rank=0,
    )


class Bench:
    def __init__(self, folder: Path, clock: FakeClock, memory: int = 300, containers: int = 9) -> None:
        self.folder = folder
        self.clock = clock
        self.budget = Budget(memory_bytes=memory * MIB, containers=containers)

    def keeper(self, worker: str = "") -> BudgetKeeper:
        return BudgetKeeper(LeaseTable(self.folder), self.budget, make_run(worker=worker), self.clock)


@pytest.fixture
def bench(tmp_path: Path, clock: FakeClock) -> Bench:
    return Bench(tmp_path, clock)


def always_open() -> None:
    """The run goes on."""


def test_what_fits_does_not_wait(bench: Bench) -> None:
    for name in "abc":
        bench.keeper().acquire(instance(name), always_open)

    assert bench.clock.pauses == []


def test_what_does_not_fit_waits_until_there_is_room(bench: Bench) -> None:
    keeper = bench.keeper()
    big = instance("big", 250)
    keeper.acquire(big, always_open)
    began = bench.clock.now()
    bench.clock.after = lambda now: keeper.release(big) if now >= began + 5 else None

    keeper.acquire(instance("next"), always_open)

    assert 5 <= bench.clock.now() - began < 6


def test_room_that_another_process_gives_back_is_seen(bench: Bench) -> None:
    one, other = bench.keeper("gw0"), bench.keeper("gw1")
    big = instance("big", 300)
    one.acquire(big, always_open)
    bench.clock.after = lambda _: one.release(big)

    other.acquire(instance("next"), always_open)

    assert len(bench.clock.pauses) == 1


def test_wait_that_is_too_long_says_who_has_what_and_what_to_do(bench: Bench) -> None:
    keeper = bench.keeper("gw1")
    keeper.acquire(instance("big", 250), always_open)

    with pytest.raises(StartError) as caught:
        keeper.acquire(instance("next"), always_open)

    text = str(caught.value)
    assert "'next'" in text
    assert "worker gw1" in text
    assert "no room in the run's budget for 300 s" in text
    assert "reserve 100 MiB and one container" in text
    assert "250 of 300 MiB" in text
    assert "big#" in text
    assert "--isolate-max-memory" in text
    assert "--isolate-max-containers" in text


def test_wait_ends_with_the_run(bench: Bench) -> None:
    keeper = bench.keeper()
    keeper.acquire(instance("big", 300), always_open)
    ended = threading.Event()
    bench.clock.after = lambda _: ended.set()

    def check() -> None:
        if ended.is_set():
            raise InterruptedError

    with pytest.raises(InterruptedError):
        keeper.acquire(instance("next"), check)


def test_shared_instance_counts_once_however_many_workers_use_it(bench: Bench) -> None:
    for worker in ("gw0", "gw1", "gw2", "gw3"):
        bench.keeper(worker).acquire(instance("db", 300), always_open)

    assert bench.clock.pauses == []


def test_each_worker_s_own_instance_counts(bench: Bench) -> None:
    for worker in ("gw0", "gw1"):
        bench.keeper(worker).acquire(instance("db", 150, Place(Scope.SESSION, "", worker)), always_open)

    with pytest.raises(StartError):
        bench.keeper("gw2").acquire(instance("db", 150, Place(Scope.SESSION, "", "gw2")), always_open)


def test_what_a_dead_worker_held_is_given_back(bench: Bench) -> None:
    bench.keeper("gw1").acquire(instance("own", 200, Place(Scope.MODULE, "a.py", "gw1")), always_open)
    bench.keeper("gw1").acquire(instance("shared", 100), always_open)
    bench.keeper().release_worker("gw1")

    bench.keeper("gw2").acquire(instance("next", 200), always_open)

    assert bench.clock.pauses == []
    with pytest.raises(StartError):
        bench.keeper("gw2").acquire(instance("more", 1), always_open)


def test_releasing_twice_gives_back_once(bench: Bench) -> None:
    keeper = bench.keeper()
    keeper.acquire(instance("a", 300), always_open)
    keeper.release(instance("a"))
    keeper.release(instance("a"))
    keeper.acquire(instance("b", 300), always_open)

    assert bench.clock.pauses == []


def test_lease_is_named_for_people_and_differs_by_place() -> None:
    places = [Place(Scope.SESSION), Place(Scope.SESSION, "", "gw1"), Place(Scope.MODULE, "a.py", "gw1")]
    names = [lease_name(instance("db", place=place)) for place in places]

    assert len(set(names)) == 3
    assert all(name.startswith("db#") for name in names)


def test_machine_s_budget_leaves_room_for_the_tests() -> None:
    budget = machine_budget()

    assert budget.memory_bytes > 0
    assert budget.containers == 200
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    assert budget.memory_bytes <= 0.8 * total


@pytest.mark.parametrize(("declared", "reserved"), [(None, 256), (UNLIMITED, 256), (64 * MIB, 64)])
def test_service_without_a_limit_is_taken_for_a_small_one(declared: object, reserved: int) -> None:
    assert spec(memory_bytes=declared).reserved_bytes == reserved * MIB


# -- what is certain to be needed at once -----------------------------------------------------------------------------


def peak(demands: dict[str, list[str]], workers: int = 1, worker: str = "", **services: object) -> tuple[int, int]:
    catalogue = load_all(declare(**{name: raw(memory="100m", **values) for name, values in services.items()}))
    places = [
        Demand(
            where=Where(test=test, test_class=test, module=test.split("::")[0], worker=worker),
            services=tuple(map(sid, wanted)),
        )
        for test, wanted in demands.items()
    ]
    memory, containers = peak_demand(build_plan(places, catalogue), workers)
    return memory // (100 * MIB), containers


def test_what_lives_for_the_run_is_needed_at_once() -> None:
    assert peak({"a.py::t": ["a"], "a.py::u": ["b"], "a.py::v": ["a"]}, a={}, b={}) == (2, 2)


def test_services_of_tests_that_follow_one_another_are_not_needed_at_once() -> None:
    narrow = {"scope": "function"}
    assert peak({"a.py::t": ["a", "b"], "a.py::u": ["a"], "a.py::v": ["b"]}, a=narrow, b=narrow) == (2, 2)


def test_workers_share_what_lives_for_the_run() -> None:
    assert peak({"a.py::t": ["a"]}, workers=4, worker="gw0", a={}) == (1, 1)


def test_nothing_is_needed_by_tests_without_services() -> None:
    assert peak({"a.py::t": []}, workers=4, worker="gw0", a={}) == (0, 0)


def test_each_worker_may_need_its_own() -> None:
    tests = {f"a.py::t{n}": ["a"] for n in range(4)}
    assert peak(tests, workers=4, worker="gw0", a={"share": "worker"}) == (4, 4)


def test_fewer_tests_than_workers_need_no_more_than_there_are_tests() -> None:
    assert peak({"a.py::t": ["a"]}, workers=4, worker="gw0", a={"share": "worker"}) == (1, 1)
