"""A process that is handed fresh copies, and holds them: `python -m fakes.holder ROOT WORKER`, until SIGTERM.

ROOT is that of the fake psql, on which many of these work at a time. Every hand-over is a line in ROOT/given. Ends with
an error if what it holds is changed, or gone, or not in the first state.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fakes.sessions import FakeSession, environment
from pytest_isolate.engine.api import EngineFacts
from pytest_isolate.model.fresh import FreshSpec
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.plan import CopyDemand
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.data import pool as module
from pytest_isolate.running.data.backends.postgres import PostgresBackend
from pytest_isolate.running.data.names import PRISTINE, CopyName, Makers
from pytest_isolate.running.data.pool import CopyPool
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.owners import read_owner, read_start_time

FIRST = ["first"]
ORDERS = ServiceId(StackId(""), "orders")
# So few that the pool is always at its cap, and holders wait.
CAP = 3
HOLDERS = 3


def main(root: Path, worker: str) -> None:
    module._SWEEP_S = 0.2  # what dies here is to be found while the others still take
    enough = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: enough.set())
    keeper = build_pool(root, worker)
    keeper.start()
    with ThreadPoolExecutor(HOLDERS) as pool:
        holders = [pool.submit(take_and_hold, keeper, root, worker, enough) for _ in range(HOLDERS)]
    for holder in holders:
        holder.result()
    keeper.close(10, drop=True)


def build_pool(root: Path, worker: str) -> CopyPool:
    spec = SimpleNamespace(ports=(5432,), user="postgres", reset=None, database="app", external=None)
    view = SimpleNamespace(spec=spec, password="x")
    domain = SimpleNamespace(run=SimpleNamespace(run_id="run", worker=worker), is_kept=False)
    running: Any = SimpleNamespace(spec=spec, view=view, container_id="db", memory_folders={}, domain=domain)
    engine: Any = SimpleNamespace(
        facts=lambda: EngineFacts(name="Fake", version="1.0", address="fake://", is_local=True),
        open_session=lambda _, argv, env: FakeSession(argv, environment(root, env)),
    )
    templates: Any = SimpleNamespace(ensure=lambda _: PRISTINE)
    makers = Makers(board=Board(root / "board"), here=read_owner(), read_start_time=read_start_time, time=time.time)
    makers.register("run", worker)
    declared = FreshSpec(name="orders", base=ServiceId(StackId(""), "db"), location=Location("conftest.py", 1))
    return CopyPool(
        wanted=(CopyDemand(fresh_id=ORDERS, spec=declared, count=1_000_000),),
        workers=1,
        cap=CAP,
        names=map(lambda n: str(CopyName("run", worker, n)), itertools.count(1)),  # noqa: C417
        open_backend=lambda: PostgresBackend(engine, running),
        templates=templates,
        makers=makers,
        clock=SystemClock(),
    )


def take_and_hold(keeper: CopyPool, root: Path, worker: str, enough: threading.Event) -> None:
    try:
        while not enough.is_set():
            name, database = keeper.take(ORDERS)
            with (root / "given").open("a") as file:
                file.write(f"{name}\n")
            hold(root / "databases" / database, worker)
            keeper.give_back(name)
    finally:
        enough.set()  # what is wrong for one ends the process at once


def hold(file: Path, worker: str) -> None:
    """Change a copy, and find it as it was left: without a connection, which would protect it on a real server."""
    content = json.loads(file.read_text())
    assert content["lines"] == FIRST, f"{file.name} is not in the first state: {content}"
    changed = json.dumps({**content, "lines": [*FIRST, worker]})
    file.write_text(changed)
    time.sleep(random.random() * 0.004)
    assert file.read_text() == changed, f"{file.name} has been changed under its holder"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
