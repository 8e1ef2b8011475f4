"""A keeper with its thread, on a server in memory: many who take at once, servers that fail, and the end."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from waiting import wait_for

from pytest_isolate.errors import EngineError, FreshError
from pytest_isolate.model.fresh import FreshSpec
from pytest_isolate.planning.plan import CopyDemand
from pytest_isolate.running.clock import Clock, SystemClock
from pytest_isolate.running.data.backends.base import BackendError
from pytest_isolate.running.data.names import CopyName, Makers
from pytest_isolate.running.data.pool import CopyPool
from pytest_isolate.sharing.board import Board
from unit.builders import HERE, OWNER, FakeClock, sid

ORDERS = sid("orders")
SPEC = FreshSpec(name="orders", base=sid("db"), location=HERE)


class Server:
    """Databases by name; `fail` is called before each is made."""

    def __init__(self) -> None:
        self.databases: set[str] = set()
        self.ever: list[str] = []
        self.in_use: set[str] = set()
        self.opened = 0
        self.swept = 0
        self.fail: Callable[[], None] = lambda: None
        self.sweep: Callable[[], None] = lambda: None
        self.room: int | None = None
        self.copy_bytes = 0

    def open(self) -> Any:
        self.opened += 1
        return MemoryBackend(self, self.room)


class MemoryBackend:
    """What a keeper needs of a way."""

    def __init__(self, server: Server, room: int | None = None) -> None:
        self.server, self.room = server, room

    def create(self, template: str, name: str) -> str:
        self.server.fail()
        assert template == "template"
        assert name not in self.server.ever
        self.server.ever.append(name)
        self.server.databases.add(name)
        return name

    def size_bytes(self, template: str) -> int:
        assert template == "template"
        return self.server.copy_bytes

    def drop(self, name: str) -> None:
        assert name not in self.server.in_use
        self.server.databases.discard(name)

    def databases(self) -> Sequence[str]:
        self.server.swept += 1
        self.server.sweep()
        return sorted(self.server.databases)

    def close(self) -> None:
        pass


class Templates:
    """A template that is there, or an init that has failed."""

    def __init__(self, error: FreshError | None = None) -> None:
        self.error = error

    def ensure(self, _: FreshSpec) -> str:
        if self.error:
            raise self.error
        return "template"


@contextmanager
def kept(
    server: Server, tmp_path: Path, *, count: int = 10_000, error: FreshError | None = None, clock: Clock | None = None
) -> Iterator[CopyPool]:
    dead = replace(OWNER, pid=43)
    board = Board(tmp_path / "board")
    Makers(board=board, here=dead, read_start_time=lambda _: None, time=lambda: 1000.0).register("run", "dead")
    pool = CopyPool(
        wanted=(CopyDemand(fresh_id=ORDERS, spec=SPEC, count=count),),
        workers=1,
        cap=8,
        names=map(lambda n: str(CopyName("run", "gw0", n)), itertools.count(1)),  # noqa: C417
        open_backend=server.open,
        templates=Templates(error),  # type: ignore[arg-type]
        makers=Makers(
            board=board,
            here=OWNER,
            read_start_time=lambda pid: "1.00" if pid == OWNER.pid else None,
            time=lambda: 1000.0,
        ),
        clock=clock or SystemClock(),
    )
    pool.start()
    try:
        yield pool
    finally:
        pool.close(5, drop=True)


def test_many_at_once_are_never_given_the_same(tmp_path: Path) -> None:
    server, lock = Server(), threading.Lock()
    given: list[str] = []

    def test(_: int) -> None:
        name, database = pool.take(ORDERS)
        assert database in server.databases
        with lock:
            assert name not in given
            given.append(name)
            server.in_use.add(name)
        server.in_use.discard(name)
        pool.give_back(name)

    with kept(server, tmp_path) as pool, ThreadPoolExecutor(6) as threads:
        list(threads.map(test, range(3000)))

    assert len(given) == 3000
    assert server.databases == set()


def test_what_a_dead_process_has_left_is_dropped(tmp_path: Path) -> None:
    server = Server()
    orphan, strange = str(CopyName("run", "dead", 1)), str(CopyName("other", "gw0", 1))
    server.databases |= {orphan, strange}
    with kept(server, tmp_path, count=1) as pool:
        pool.take(ORDERS)
        wait_for(lambda: orphan not in server.databases)

    assert server.databases == {strange}


def test_a_copy_that_is_given_back_when_a_sweep_is_due_is_dropped_too(tmp_path: Path, clock: FakeClock) -> None:
    server = Server()
    with kept(server, tmp_path, clock=clock) as pool:
        wait_for(lambda: server.swept)
        made = len(server.ever)
        name, _ = pool.take(ORDERS)
        wait_for(lambda: len(server.ever) > made)  # the first sweep has ended
        clock.seconds += 1000
        pool.give_back(name)
        wait_for(lambda: server.swept == 2)

    assert server.databases == set()


def test_sweeps_that_take_longer_than_the_pause_between_them_leave_time_for_copies(
    tmp_path: Path, clock: FakeClock
) -> None:
    server = Server()

    def take_long() -> None:
        clock.seconds += 50

    server.sweep = take_long
    with kept(server, tmp_path, clock=clock) as pool:
        wait_for(lambda: server.swept)
        for _ in range(20):
            pool.take(ORDERS)


def test_a_copy_that_somebody_wants_to_look_into_stays_when_all_others_are_dropped(tmp_path: Path) -> None:
    server = Server()
    with kept(server, tmp_path) as pool:
        (one, _), (other, _) = pool.take(ORDERS), pool.take(ORDERS)
        assert pool.retain(one, 2000.0)
        assert pool.retain(one, 2000.0)
        pool.give_back(one)
        pool.give_back(other)
        wait_for(lambda: other not in server.databases)

    assert server.databases == {one}


def test_of_numbered_databases_only_a_part_stays(tmp_path: Path) -> None:
    server = Server()
    server.room = 9
    with kept(server, tmp_path) as pool:
        names = [pool.take(ORDERS)[0] for _ in range(3)]
        assert [pool.retain(name, 2000.0) for name in names] == [True, True, False]
        pool.give_back(names[2])
        wait_for(lambda: names[2] not in server.databases)

    assert server.databases == set(names[:2])


def test_of_large_copies_few_are_kept_ready(tmp_path: Path) -> None:
    server = Server()
    server.copy_bytes = 200 << 20
    with kept(server, tmp_path) as pool:
        pool.take(ORDERS)
        wait_for(lambda: len(server.databases) == 3)  # the one that is taken, and 400 MiB
        pool.take(ORDERS)
        wait_for(lambda: len(server.databases) == 4)

    assert len(server.ever) == 4


def test_a_client_that_has_broken_is_replaced(tmp_path: Path) -> None:
    server = Server()
    failures = iter([EngineError("psql in a container has ended")])

    def fail() -> None:
        error = next(failures, None)
        if error:
            raise error

    server.fail = fail
    with kept(server, tmp_path) as pool:
        assert pool.take(ORDERS)

    assert server.opened == 2


def test_a_server_that_makes_no_copy_is_told_to_whoever_waits_and_asked_again_by_the_next(tmp_path: Path) -> None:
    server = Server()

    def fail() -> None:
        raise BackendError("disk full")

    server.fail = fail
    with kept(server, tmp_path) as pool:
        for _ in range(2):
            with pytest.raises(FreshError, match=r"no copy for 'orders' could be made\n  found  disk full"):
                pool.take(ORDERS)
        server.fail = lambda: None
        assert pool.take(ORDERS)


def test_an_init_that_has_failed_is_told_to_everybody(tmp_path: Path) -> None:
    with kept(Server(), tmp_path, error=FreshError("the init of 'orders' has failed")) as pool:
        for _ in range(3):
            with pytest.raises(FreshError, match="the init of 'orders' has failed"):
                pool.take(ORDERS)
        assert pool.failure(ORDERS)


def test_nothing_is_handed_out_when_the_run_ends(tmp_path: Path) -> None:
    with kept(Server(), tmp_path) as pool:
        pool.take(ORDERS)
        pool.close(5, drop=True)

        with pytest.raises(FreshError, match="the run is ending"):
            pool.take(ORDERS)


def test_a_server_with_room_for_few_is_not_filled_with_what_nobody_uses(tmp_path: Path) -> None:
    server = Server()
    server.open = lambda: MemoryBackend(server, room=6)  # type: ignore[method-assign]
    with kept(server, tmp_path) as pool:
        held = [pool.take(ORDERS)[0] for _ in range(3)]
        wait_for(lambda: len(server.databases) == 6)
        for name in held:
            pool.give_back(name)
        wait_for(lambda: len(server.databases) == 3)

        assert pool.figures()["orders"][0] == 3
