"""Eight processes ask for the same service at the same moment: it is started exactly once."""

from __future__ import annotations

import multiprocessing
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fakes.engine import FakeEngine
from fakes.journal import Journal
from fakes.programs import IMAGE, program

from engine.conftest import Left
from pytest_isolate.declarations.loading import load
from pytest_isolate.engine.api import Engine
from pytest_isolate.model.declaration import Declared, Layer, RawService, RawStack
from pytest_isolate.model.identity import LABEL_RUN, Run
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.placement import ItemPosition, place_instances
from pytest_isolate.planning.plan import Plan
from pytest_isolate.plugin.options import Settings
from pytest_isolate.plugin.run.opening import OpenRun, RunMembership
from pytest_isolate.plugin.run.wiring import wire
from pytest_isolate.plugin.terminal.report import Report
from pytest_isolate.running.cleanup.remove import remove_all
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.folders import create_run_folder, remove_run_folder
from pytest_isolate.sharing.owners import read_owner

RACERS = 8
# Not forked: the test process has threads of its own.
SPAWN = multiprocessing.get_context("spawn")
SETTINGS = Settings(
    plan_only=False,
    subnets="10.189.0.0/16",
    bind="127.0.0.1",
    host="",
    cache=False,
    in_memory_bytes=0,
    reuse=False,
    reuse_idle_s=60,
    project="race",
    keep="never",
    max_memory_bytes=1 << 40,
    max_containers=1000,
)


def open_engine(journal: str) -> Engine:
    """The real engine, or, with a journal, a fake one of this process."""
    if journal:
        return FakeEngine(Journal(Path(journal)))
    from pytest_isolate.engine.connect import connect

    return connect()


def race(member: RunMembership, rounds: int, journal: str, barrier: Any, got: Any) -> None:
    """What one process does: as a worker would, but for pytest."""
    values = {"image": IMAGE, "command": program("serve 8000"), "port": 8000}
    raw = RawService(layers=(Layer(values=values, location=Location(file="race.py")),))
    names = [f"web{number}" for number in range(rounds)]
    # Each in a stack of its own: the fake engine's networks are known in the process only that has made them.
    stacks = {name: RawStack(members={name: raw}, options={}, location=raw.layers[0].location) for name in names}
    declared = [Declared(name=name, namespace="", raw=one) for name, one in stacks.items()]
    catalogue = load(declared, reserved=frozenset(), exists=lambda _: True)
    clock = SystemClock()
    timeline = Timeline(clock)
    armed: Future[str] = Future()
    armed.set_result("")
    swept: Future[None] = Future()
    swept.set_result(None)
    opened = OpenRun(engine=open_engine(journal), armed=armed, sweeping=swept)
    wired = wire(opened, member, SETTINGS, Plan(), clock, timeline, Report(timeline))
    where = ItemPosition(test="t", test_class="t", module="t", worker=member.run.worker)
    for name in names:
        (instance,) = place_instances([ServiceId(StackId("", name), name)], catalogue, where)
        barrier.wait(300)
        wired.lifecycle.start([instance])
        service = wired.lifecycle.handle(instance.key)
        got.put((name, service.container_id, service.port))
    # Nobody leaves while others may still use what he has started: a fake engine ends with its process.
    barrier.wait(300)
    wired.lifecycle.close(10)
    wired.close(0)


@pytest.fixture
def run_folder() -> Iterator[tuple[Run, Path]]:
    run = Run(run_id=f"race{secrets.token_hex(4)}", owner=read_owner(), secret=b"secret")
    folder = create_run_folder(run.run_id, run.owner.encode())
    yield run, folder
    remove_run_folder(folder)


def run_race(run: Run, folder: Path, rounds: int, journal: str = "") -> dict[str, set[tuple[str, int]]]:
    """What all racers were given in each round."""
    barrier, got = SPAWN.Barrier(RACERS), SPAWN.Queue()
    members = [
        RunMembership(
            run=Run(run_id=run.run_id, owner=run.owner, secret=run.secret, worker=f"gw{n}"),
            folder=folder,
            workers=RACERS,
        )
        for n in range(RACERS)
    ]
    racers = [SPAWN.Process(target=race, args=(member, rounds, journal, barrier, got)) for member in members]
    for racer in racers:
        racer.start()
    given: dict[str, set[tuple[str, int]]] = {}
    for _ in range(rounds * RACERS):
        name, container_id, port = got.get(timeout=300)
        given.setdefault(name, set()).add((container_id, port))
    for racer in racers:
        racer.join(120)
    assert [racer.exitcode for racer in racers] == [0] * RACERS
    return given


@pytest.mark.slow
def test_sixty_races_on_the_fake_engine(run_folder: tuple[Run, Path], tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    rounds = 60

    given = run_race(*run_folder, rounds, str(journal.path))

    assert Counter(journal.services) == Counter(f"web{n}" for n in range(rounds))
    assert len(given) == rounds
    assert all(len(answers) == 1 for answers in given.values())
    assert len(journal.calls("create_network")) == rounds
    starters = Counter(request["name"].split("gw")[-1] for request in journal.requests)
    print(f"{rounds} rounds, {RACERS} processes: {sum(starters.values())} starts, by {len(starters)} of them")


@pytest.mark.engine
@pytest.mark.slow
def test_ten_races_on_the_real_engine(
    run_folder: tuple[Run, Path], left: Left, real_engine: Engine, docker_client: Any, base_image: str
) -> None:
    run, folder = run_folder
    rounds = 10
    try:
        given = run_race(run, folder, rounds)
        there = docker_client.containers(all=True, filters={"label": [f"{LABEL_RUN}={run.run_id}"]})
        networks = docker_client.networks(filters={"label": [f"{LABEL_RUN}={run.run_id}"]})
    finally:
        remove_all(real_engine, {LABEL_RUN: run.run_id})

    assert {container_id for answers in given.values() for container_id, _ in answers} == {c["Id"] for c in there}
    assert len(there) == len(given) == rounds
    assert len(networks) == rounds
