"""Starts that queue for the run's budget, and what can never fit."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_isolate.errors import StartError
from pytest_isolate.model.resources import Resources
from pytest_isolate.model.scope import Scope
from pytest_isolate.model.service import MIB, UNLIMITED
from pytest_isolate.planning.placement import Instance, InstanceKey, ItemPosition, Place, place_instances, places_of
from pytest_isolate.planning.plan import Demand, Plan, build_plan, lasting_demand, peak_demand
from pytest_isolate.running.instances import budget
from pytest_isolate.running.instances.budget import BudgetKeeper, lease_name, machine_budget
from pytest_isolate.sharing.board import LeaseTable
from pytest_isolate.sharing.leases import Lease, Refused, grant, is_its_turn, promote, release, release_holder
from unit.builders import FakeClock, declare, load_all, make_run, raw, sid, spec


def instance(name: str, memory: int = 100, place: Place | None = None, fingerprint: str = "f") -> Instance:
    return Instance(
        key=InstanceKey(sid(name), place or Place(Scope.SESSION), fingerprint),
        spec=spec(name, memory_bytes=memory * MIB),
        native_ports=False,
        dependencies=(),
        network_capacity=1,
        stack_depth=0,
    )


class Bench:
    def __init__(self, folder: Path, clock: FakeClock, memory: int = 300, containers: int = 9) -> None:
        self.folder = folder
        self.clock = clock
        self.budget = Resources(memory_bytes=memory * MIB, containers=containers)

    def pool(self, worker: str = "", plan: Plan = Plan()) -> BudgetKeeper:  # noqa: B008  # it is frozen
        return BudgetKeeper(LeaseTable(self.folder), self.budget, make_run(worker=worker), self.clock, plan)


@pytest.fixture
def bench(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # Each look takes a lock and reads a file, and some of these tests look for twenty minutes.
    monkeypatch.setattr(budget, "_PAUSE_S", 1.0)
    return Bench(tmp_path, clock)


def always_open() -> None:
    """The run goes on."""


def test_what_fits_does_not_wait(bench: Bench) -> None:
    for name in "abc":
        bench.pool().acquire(instance(name), always_open)

    assert bench.clock.pauses == []


def test_what_does_not_fit_waits_until_there_is_room(bench: Bench) -> None:
    pool = bench.pool()
    big = instance("big", 250)
    pool.acquire(big, always_open)
    began = bench.clock.now()
    bench.clock.after = lambda now: pool.release(big) if now >= began + 5 else None

    pool.acquire(instance("next"), always_open)

    assert 5 <= bench.clock.now() - began < 6


def test_room_that_another_process_gives_back_is_seen(bench: Bench) -> None:
    one, other = bench.pool("gw0"), bench.pool("gw1")
    big = instance("big", 300)
    one.acquire(big, always_open)
    bench.clock.after = lambda _: one.release(big)

    other.acquire(instance("next"), always_open)

    assert len(bench.clock.pauses) == 1


def test_wait_that_is_too_long_says_who_has_what_and_what_to_do(bench: Bench) -> None:
    pool = bench.pool("gw1")
    pool.acquire(instance("big", 250), always_open)

    with pytest.raises(StartError) as caught:
        pool.acquire(instance("next"), always_open)

    text = str(caught.value)
    assert "'next'" in text
    assert "worker gw1" in text
    assert "no room in the run's budget for 300 s" in text
    assert "reserve 100 MiB and 1 containers" in text
    assert "250 of 300 MiB" in text
    assert "running: big#" in text
    assert "--isolate-max-memory" in text
    assert "--isolate-max-containers" in text


def test_wait_goes_on_as_long_as_others_come_and_go(bench: Bench) -> None:
    pool = bench.pool()
    began = bench.clock.now()
    held = [instance("big0", 250)]
    pool.acquire(held[0], always_open)

    def others(now: float) -> None:
        turn = int((now - began) // 200)
        if turn == len(held) and turn < 5:
            pool.release(held[-1])
            held.append(instance(f"big{turn}", 250))
            pool.acquire(held[-1], always_open)

    bench.clock.after = others
    with pytest.raises(StartError):
        pool.acquire(instance("next"), always_open)

    assert 1100 <= bench.clock.now() - began < 1101


def test_wait_ends_with_the_run(bench: Bench) -> None:
    pool = bench.pool()
    pool.acquire(instance("big", 300), always_open)
    ended = threading.Event()
    bench.clock.after = lambda _: ended.set()

    def check() -> None:
        if ended.is_set():
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pool.acquire(instance("next"), check)


def test_shared_instance_counts_once_however_many_workers_use_it(bench: Bench) -> None:
    for worker in ("gw0", "gw1", "gw2", "gw3"):
        bench.pool(worker).acquire(instance("db", 300), always_open)

    assert bench.clock.pauses == []


def test_each_worker_s_own_instance_counts(bench: Bench) -> None:
    for worker in ("gw0", "gw1"):
        bench.pool(worker).acquire(instance("db", 150, Place(Scope.SESSION, "", worker)), always_open)

    with pytest.raises(StartError):
        bench.pool("gw2").acquire(instance("db", 150, Place(Scope.SESSION, "", "gw2")), always_open)


def test_what_a_dead_worker_held_is_given_back(bench: Bench) -> None:
    bench.pool("gw1").acquire(instance("own", 200, Place(Scope.MODULE, "a.py", "gw1")), always_open)
    bench.pool("gw1").acquire(instance("shared", 100), always_open)
    bench.pool().release_worker("gw1")

    bench.pool("gw2").acquire(instance("next", 200), always_open)

    assert bench.clock.pauses == []
    with pytest.raises(StartError):
        bench.pool("gw2").acquire(instance("more", 1), always_open)


def test_releasing_twice_gives_back_once(bench: Bench) -> None:
    pool = bench.pool()
    pool.acquire(instance("a", 300), always_open)
    pool.release(instance("a"))
    pool.release(instance("a"))
    pool.acquire(instance("b", 300), always_open)

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


# -- what has to fit at once ------------------------------------------------------------------------------------------


def plan_of(requirements: dict[str, list[str]], worker: str = "", **services: object) -> Plan:
    """Tests by id, `module::test` or `module::class::test`, with what they use. Each service takes 100 MiB."""
    catalogue = load_all(declare(**{name: raw(memory="100m", **values) for name, values in services.items()}))
    return build_plan(
        [Demand(where=where(test, worker), services=tuple(map(sid, d))) for test, d in requirements.items()], catalogue
    )


def where(test: str, worker: str = "") -> ItemPosition:
    module, *_ = test.split("::")
    return ItemPosition(
        test=test, test_class=test.rpartition("::")[0], module=module, above=("", module), worker=worker
    )


def peak(requirements: dict[str, list[str]], workers: int = 1, worker: str = "", **services: object) -> tuple[int, int]:
    needed = peak_demand(plan_of(requirements, worker, **services), workers)
    return needed.memory_bytes // (100 * MIB), needed.containers


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


MODULE, CLASS, FUNCTION = ({"scope": scope} for scope in ("module", "class", "function"))


def test_what_a_module_has_needs_room_beside_each_test_s_own() -> None:
    tests = {"a.py::t": ["a"], "a.py::u": ["b"], "a.py::v": ["c", "d"], "b.py::t": ["c"]}
    assert peak(tests, a=MODULE, b=FUNCTION, c=FUNCTION, d=FUNCTION) == (3, 3)


def test_modules_and_classes_follow_one_another() -> None:
    tests = {"a.py::C::t": ["a", "b"], "a.py::D::t": ["b", "c"], "b.py::C::t": ["a", "b"]}
    assert peak(tests, a=MODULE, b=CLASS, c=FUNCTION) == (3, 3)


def test_everything_within_a_place_has_the_claim_of_the_widest_around_it() -> None:
    tests = {"a.py::C::t": ["a", "b"], "a.py::D::t": ["c"], "b.py::t": ["c"]}
    claims = plan_of(tests, a=MODULE, b=CLASS, c=FUNCTION).claims

    assert {(place.scope, place.node): claim.containers for place, claim in claims.items()} == {
        (Scope.MODULE, "a.py"): 2,
        (Scope.CLASS, "a.py::C"): 2,
        (Scope.FUNCTION, "a.py::D::t"): 2,
        (Scope.FUNCTION, "b.py::t"): 1,
    }


# -- nobody waits for ever --------------------------------------------------------------------------------------------


def test_two_workers_never_have_half_of_what_they_need_each(bench: Bench) -> None:
    """Room for two; a test needs two."""
    bench.budget = Resources(memory_bytes=200 * MIB, containers=2)
    pools = {}
    for worker in ("gw0", "gw1"):
        plan = plan_of({"a.py::t": ["a", "b"]}, worker, a=FUNCTION, b=FUNCTION)
        pools[worker] = bench.pool(worker, plan), *(step.instance for step in plan.steps)
    pool, a, b = pools["gw0"]
    pool.acquire(a, always_open)

    def finish(_: float) -> None:
        pool.acquire(b, always_open)
        pool.release(a)
        pool.release(b)

    bench.clock.after = finish
    other, a1, b1 = pools["gw1"]
    other.acquire(a1, always_open)
    other.acquire(b1, always_open)

    assert len(bench.clock.pauses) == 1


@dataclass
class Worker:
    """Runs tests one after another: takes what a test needs in any order, gives back in any order what has ended.

    Where it may, it takes what the next two tests need ahead of them.
    """

    name: str
    tests: list[ItemPosition]
    needed: dict[ItemPosition, list[Instance]]
    claims: Mapping[Place, Resources]
    held: list[Instance] = field(default_factory=list)
    ended: list[Instance] = field(default_factory=list)

    @property
    def coming(self) -> list[list[Instance]]:
        return [self.needed[test] for test in self.tests[:3]]

    def missing(self) -> list[Instance]:
        """What it may ask for now."""
        tests = [{lease_name(i) for i in needed if i.key.place.node} for needed in self.coming]
        granted = {lease_name(i) for i in self.held}
        wanted = [i for needed in self.coming for i in needed if i not in self.held]
        return [i for i in wanted if i in self.coming[0] or is_its_turn(lease_name(i), tests, granted)]

    def lease(self, instance: Instance) -> Lease:
        place, room = instance.key.place, Resources(memory_bytes=instance.spec.reserved_bytes, containers=1)
        claim = self.claims[place] if place.node else Resources()
        number = next(n for n, needed in enumerate(self.coming) if instance in needed)
        ahead_of = self.tests[number].test if number and place.node else ""
        return Lease(
            name=lease_name(instance), room=room, holder=place.worker, max_claim=claim, prefetched_for=ahead_of
        )

    def finish_test(self) -> None:
        before = places_of(self.tests.pop(0), [])
        after = places_of(self.tests[0], []) if self.tests else frozenset()
        stay = [i for i in self.held if i.key.place not in before - after or not i.key.place.node]
        self.ended += [i for i in self.held if i not in stay]
        self.held = stay


SCOPES = [FUNCTION, CLASS, MODULE, {}, {"share": "worker"}]
node_ids = st.builds("{}.py::{}::{}".format, st.sampled_from("ab"), st.sampled_from("CD"), st.integers(0, 3))


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Worker], Resources, Resources]:
    """Workers that share tests out somehow, the least budget that fits them, and what lasts."""
    services = {
        name: draw(st.sampled_from(SCOPES)) | {"memory": draw(st.sampled_from(["10m", "20m"]))} for name in "pqrs"
    }
    catalogue = load_all(declare(**{name: raw(**values) for name, values in services.items()}))
    uses = draw(st.dictionaries(node_ids, st.sets(st.sampled_from("pqrs"), max_size=3), min_size=2, max_size=9))
    count = draw(st.integers(1, 3))
    sharing_out = {test: draw(st.integers(0, count - 1)) for test in draw(st.permutations(sorted(uses)))}
    workers = []
    for number in range(count):
        name = f"gw{number}"
        requirements = [
            Demand(where=where(test, name), services=tuple(map(sid, sorted(uses[test])))) for test in sorted(uses)
        ]
        plan = build_plan(requirements, catalogue)
        needed = {d.where: list(place_instances(d.services, catalogue, d.where)) for d in requirements}
        own = [where(test, name) for test, mine in sharing_out.items() if mine == number]
        workers.append(Worker(name, own, needed, plan.claims))
    return workers, peak_demand(plan, count), lasting_demand(plan, count)


@settings(max_examples=100)
@given(runs(), st.integers(0, 2**32).map(Random))
def test_workers_always_get_on(run: tuple[list[Worker], Resources, Resources], random: Random) -> None:
    """In the least budget that the plan lets through, whatever each of them does first, and whoever dies."""
    workers, budget, lasting = run
    table: tuple[Lease, ...] = ()

    def step(worker: Worker) -> bool:
        """Do one thing; whether anything could be done."""
        nonlocal table
        missing = worker.missing()
        for instance in random.sample([*missing, *worker.ended], len(missing) + len(worker.ended)):
            if instance in worker.ended:
                table = release(table, lease_name(instance))
                worker.ended.remove(instance)
                return True
            granted = grant(table, worker.lease(instance), budget, lasting)
            if not isinstance(granted, Refused):
                table = granted
                worker.held.append(instance)
                return True
        if worker.tests and all(i in worker.held for i in worker.coming[0]):
            worker.finish_test()
            table = promote(table, {lease_name(i) for needed in worker.coming[:1] for i in needed})
            return True
        return False

    while any(worker.tests or worker.ended for worker in workers):
        assert any(step(worker) for worker in random.sample(workers, len(workers))), "they wait for one another"
        assert sum((lease.room for lease in table), Resources()).fits(budget)
        if random.random() < 0.01:
            died = workers.pop(random.randrange(len(workers)))
            table = release_holder(table, died.name)

    assert all(lease.is_for_whole_run for lease in table)
    for worker in workers:
        table = release_holder(table, worker.name)
    assert not any(lease.holder for lease in table)
