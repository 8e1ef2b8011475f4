"""Whose copies may be dropped by others."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from pytest_isolate.running.data.names import CopyName, Makers
from pytest_isolate.sharing.board import Board
from unit.builders import OWNER

DEAD = replace(OWNER, pid=43)


def start_time(pid: int) -> str | None:
    return OWNER.start_time if pid == OWNER.pid else None


def makers(tmp_path: Path, here: object = OWNER, now: float = 1000.0) -> Makers:
    board = Board(tmp_path / "board")
    return Makers(board=board, here=here, read_start_time=start_time, time=lambda: now)  # type: ignore[arg-type]


def name(run: str, worker: str, number: int = 1) -> str:
    return str(CopyName(run, worker, number))


def test_copies_of_the_dead_are_orphans_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    makers(tmp_path).register("run", "gw0")
    makers(tmp_path, DEAD).register("run", "gw1")
    names = [name("run", "gw0"), name("run", "gw1"), name("run", "gw1", 2), "app", "isolate_pristine"]

    assert makers(tmp_path).orphans(names) == [name("run", "gw1"), name("run", "gw1", 2)]


def test_copies_of_a_maker_that_nobody_knows_stay(tmp_path: Path) -> None:
    assert makers(tmp_path).orphans([name("other", "gw0")]) == []


def test_another_run_with_a_worker_of_the_same_name_is_another_maker(tmp_path: Path) -> None:
    makers(tmp_path).register("one", "gw0")
    makers(tmp_path, DEAD).register("two", "gw0")

    assert makers(tmp_path).orphans([name("one", "gw0"), name("two", "gw0")]) == [name("two", "gw0")]


def test_a_copy_that_somebody_wants_to_look_into_stays_until_its_time_is_over(tmp_path: Path) -> None:
    maker = makers(tmp_path, DEAD)
    maker.register("run", "gw0")
    maker.retain(name("run", "gw0"), 2000.0)
    names = [name("run", "gw0"), name("run", "gw0", 2)]

    assert makers(tmp_path).orphans(names) == [name("run", "gw0", 2)]
    assert makers(tmp_path, now=2000.0).orphans(names) == names
