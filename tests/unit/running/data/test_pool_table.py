"""Who is given which copy, and when it is dropped: 10,000 hand-overs on a server in memory, with workers that die."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pytest_isolate.running.data.names import (
    PRISTINE,
    CopyName,
    creator_of,
    own_suffix,
    parse_copy_name,
    template_name,
)
from pytest_isolate.running.data.pool_table import Create, Drop, PoolTable

KINDS = ("orders", "stock")


@dataclass
class Server:
    """The databases that are there, what is in them, and who has ever been given which."""

    databases: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)

    def create(self, name: str) -> None:
        assert name not in self.databases
        assert name not in self.given, "a name is used twice"
        self.databases[name] = "pristine"

    def drop(self, name: str) -> None:
        assert name not in self.running.values(), "a database is dropped under a live test"
        del self.databases[name]

    def hand_over(self, name: str, test: str) -> None:
        assert name not in self.given, "a database is given to two tests"
        assert self.databases[name] == "pristine"
        self.given[name] = test
        self.running[test] = name
        self.databases[name] = f"changed by {test}"


class Worker:
    """One process with its own table, as a keeper uses it; `dies` in the middle of anything."""

    def __init__(self, server: Server, name: str, cap: int) -> None:
        self.server, self.name, self.is_alive = server, name, True
        self.table: PoolTable[str] = PoolTable(cap)
        for kind in KINDS:
            self.table.add(kind, 1000)
            self.table.open(kind)
        self.numbers = iter(range(1, 10**9))
        self.tests: dict[str, str] = {}
        self.waiting: list[tuple[str, str]] = []
        self.count = 0

    def begin_test(self, kind: str, now: float) -> None:
        self.count += 1
        test = f"{self.name}-{self.count}"
        name = self.table.take(kind, now)
        if name is None:
            self.waiting.append((kind, test))
        else:
            self._begin(test, name)

    def step(self, now: float) -> bool:
        step = self.table.next_step(now)
        match step:
            case Create(kind):
                name = str(CopyName("run", self.name, next(self.numbers)))
                self.server.create(name)
                self.table.created(kind, name)
                self._wake(kind)
            case Drop(name):
                self.server.drop(name)
        return step is not None

    def end_test(self, test: str) -> None:
        del self.server.running[test]
        self.table.give_back(self.tests.pop(test))

    def die(self) -> None:
        self.is_alive = False
        for test in self.tests:
            del self.server.running[test]

    def sweep(self, workers: dict[str, Worker]) -> None:
        for name in list(self.server.databases):
            copy = parse_copy_name(name)
            assert copy
            if not workers[copy.worker].is_alive:
                self.server.drop(name)

    def _wake(self, kind: str) -> None:
        for waiting in [w for w in self.waiting if w[0] == kind]:
            name = self.table.take_awaited(kind)
            if name is None:
                return
            self.waiting.remove(waiting)
            self._begin(waiting[1], name)

    def _begin(self, test: str, name: str) -> None:
        self.server.hand_over(name, test)
        self.tests[test] = name


class HandOvers(RuleBasedStateMachine):
    """Anything may happen in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.server, self.now, self.cap = Server(), 0.0, 4
        self.workers = {name: Worker(self.server, name, self.cap) for name in ("gw0", "gw1")}

    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.is_alive]

    @rule(number=st.integers(0, 9), kind=st.sampled_from(KINDS))
    def begin(self, number: int, kind: str) -> None:
        self.alive()[number % len(self.alive())].begin_test(kind, self.now)

    @rule(number=st.integers(0, 9), times=st.integers(1, 12))
    def work(self, number: int, times: int) -> None:
        for _ in range(times):
            self.now += 0.05
            self.alive()[number % len(self.alive())].step(self.now)

    @rule(number=st.integers(0, 9), which=st.integers(0, 99))
    def end(self, number: int, which: int) -> None:
        worker = self.alive()[number % len(self.alive())]
        if worker.tests:
            worker.end_test(list(worker.tests)[which % len(worker.tests)])

    @rule(number=st.integers(0, 9))
    def crash(self, number: int) -> None:
        """xdist replaces a worker that has died by one with a new name."""
        self.alive()[number % len(self.alive())].die()
        name = f"gw{len(self.workers)}"
        self.workers[name] = Worker(self.server, name, self.cap)

    @rule(number=st.integers(0, 9))
    def sweep(self, number: int) -> None:
        self.alive()[number % len(self.alive())].sweep(self.workers)

    @invariant()
    def nobody_is_left_waiting_for_what_is_there(self) -> None:
        for worker in self.alive():
            for kind, _ in worker.waiting:
                assert not worker.table.pools[kind].ready

    @invariant()
    def what_is_idle_stays_below_the_cap_but_for_one_who_waits(self) -> None:
        for worker in self.alive():
            in_use = len(worker.tests)
            own = [n for n in self.server.databases if (copy := parse_copy_name(n)) and copy.worker == worker.name]
            assert len(own) == in_use + worker.table.idle
            assert sum(len(pool.ready) for pool in worker.table.pools.values()) <= self.cap


HandOvers.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestHandOvers = HandOvers.TestCase


def test_ten_thousand_hand_overs_never_give_a_database_twice() -> None:
    rng, server, now = random.Random(7), Server(), 0.0
    workers = {name: Worker(server, name, 6) for name in ("gw0", "gw1", "gw2")}
    while len(server.given) < 10_000:
        alive = [worker for worker in workers.values() if worker.is_alive]
        worker, now = rng.choice(alive), now + 0.01
        match rng.choices(["begin", "work", "end", "crash", "sweep"], [40, 60, 40, 0.3, 1])[0]:
            case "begin" if len(worker.tests) < 5 and not worker.waiting:
                worker.begin_test(rng.choice(KINDS), now)
            case "work":
                worker.step(now)
            case "end" if worker.tests:
                worker.end_test(rng.choice(list(worker.tests)))
            case "crash":
                worker.die()
                workers[f"gw{len(workers)}"] = Worker(server, f"gw{len(workers)}", 6)
            case "sweep":
                worker.sweep(workers)

    assert len(workers) > 20
    survivor = next(worker for worker in workers.values() if worker.is_alive)
    survivor.sweep(workers)
    owners = {copy.worker for name in server.databases if (copy := parse_copy_name(name))}
    assert all(workers[owner].is_alive for owner in owners)


def settle(table: PoolTable[str], now: float = 0.0) -> list[object]:
    """Carry out all steps; what they were."""
    steps = []
    numbers = iter(range(10**6))
    while (step := table.next_step(now)) is not None:
        steps.append(step)
        if isinstance(step, Create):
            table.created(step.kind, f"{step.kind}{next(numbers)}-{now}")
    return steps


def one(expected: int = 100, cap: int = 48) -> PoolTable[str]:
    table: PoolTable[str] = PoolTable(cap)
    table.add("orders", expected)
    table.open("orders")
    return table


def test_nothing_is_made_before_its_template_is_there() -> None:
    table: PoolTable[str] = PoolTable(8)
    table.add("orders", 10)

    assert table.next_step(0) is None


def test_some_are_ready_before_anybody_asks_but_no_more_than_tests_will_need() -> None:
    assert len(settle(one())) == 8
    assert len(settle(one(expected=3))) == 3


def test_more_are_kept_ready_the_faster_they_are_taken() -> None:
    table = one(expected=1000)
    settle(table)
    for number in range(50):
        name = table.take("orders", number / 10)
        settle(table, number / 10)
        if name:
            table.give_back(name)

    assert len(table.pools["orders"].ready) == pytest.approx(40, abs=2)


def test_whoever_waits_goes_before_all_that_is_to_be_dropped() -> None:
    table = one(cap=2)
    settle(table)
    first, second = table.take("orders", 0), table.take("orders", 0)
    assert first
    assert second
    table.give_back(first)
    table.give_back(second)

    assert table.take("orders", 0) is None

    assert table.next_step(0) == Create("orders")


def test_at_the_cap_one_is_dropped_before_another_is_made() -> None:
    table = one(cap=2)
    settle(table)
    name = table.take("orders", 0)
    assert name
    table.give_back(name)

    assert table.next_step(0) == Drop(name)
    assert table.next_step(0) == Create("orders")


def test_a_holder_keeps_his_copy_however_long() -> None:
    table = one()
    settle(table)
    name = table.take("orders", 0)

    assert all(step != Drop(name) for step in settle(table, 10**9))


def test_giving_back_twice_drops_once() -> None:
    table = one(expected=1)
    settle(table)
    name = table.take("orders", 0)
    assert name
    table.give_back(name)
    table.give_back(name)

    assert [s for s in settle(table) if isinstance(s, Drop)] == [Drop(name)]


def test_what_cannot_be_made_is_tried_again_only_when_somebody_asks() -> None:
    table = one()
    assert table.next_step(0) == Create("orders")
    table.failed("orders")

    assert table.next_step(0) is None
    assert table.take("orders", 0) is None
    assert table.next_step(0) == Create("orders")


def test_names_tell_run_worker_and_number() -> None:
    name = str(CopyName("Ab-12", "gw1", 7))

    copy = parse_copy_name(name)
    assert copy == CopyName("ab12", "gw1", 7)
    assert copy.maker == CopyName("Ab-12", "gw1", 7).maker


def test_names_of_workers_that_begin_alike_are_told_apart() -> None:
    assert CopyName("r", "gw1", 1).maker != CopyName("r", "gw10", 1).maker
    assert CopyName("r", "", 1).maker == ("r", "")


@pytest.mark.parametrize(
    "name", ["app", "isolate_pristine", template_name("a" * 32), "isolate_copy_x", "isolate_copy_a_b_c"]
)
def test_what_is_no_copy_of_ours_has_no_maker(name: str) -> None:
    assert parse_copy_name(name) is None


def test_names_fit_into_what_postgres_keeps_of_a_name() -> None:
    assert len(str(CopyName("a" * 8, "gw100", 10**6))) <= 63
    assert len(template_name("a" * 64)) <= 63


@pytest.mark.parametrize("worker", ["", "gw0", "gw117"])
def test_what_is_made_on_a_foreign_server_says_whose_it_is(worker: str) -> None:
    maker, suffix = CopyName("ab12cd34", worker, 7).maker, own_suffix("ab12cd34", worker)
    for name in (PRISTINE + suffix, template_name("a" * 64, suffix), str(CopyName("ab12cd34", worker, 7))):
        assert creator_of(name) == maker
        assert len(name) <= 63


@pytest.mark.parametrize(
    "name", ["isolate_pristine", template_name("a" * 64), "app", "isolate_spare", "isolate_copy_x"]
)
def test_what_is_not_of_one_process_is_nobodys(name: str) -> None:
    assert creator_of(name) is None
