"""What processes agree on, on disk."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from filelock import FileLock
from msgspec.structs import replace

from pytest_isolate.errors import PathError
from pytest_isolate.model.resources import Resources
from pytest_isolate.model.service import MIB
from pytest_isolate.sharing.board import Board, LeaseTable, open_locks
from pytest_isolate.sharing.folders import create_run_folder, remove_dead_folders, remove_run_folder
from pytest_isolate.sharing.leases import Lease, Refused, grant
from pytest_isolate.sharing.owners import read_owner

# Not forked: the test process has threads of its own.
SPAWN = multiprocessing.get_context("spawn")


def no_check() -> None:
    """For those who need not watch anything while they wait."""


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "board")


# -- records ----------------------------------------------------------------------------------------------------------


def test_what_is_published_can_be_read_by_everybody(board: Board, tmp_path: Path) -> None:
    board.publish("db", {"container": "c1", "ports": {"5432": 40000}})

    assert Board(tmp_path / "board").read("db") == {"container": "c1", "ports": {"5432": 40000}}


def test_nothing_is_read_where_nobody_has_published(board: Board) -> None:
    assert board.read("db") is None


def test_a_name_may_hold_anything(board: Board) -> None:
    odd = ["a/b", "../up", "ä", "", "x" * 500, "\0"]
    for number, name in enumerate(odd):
        board.publish(name, {"number": number})

    assert [board.read(name) for name in odd] == [{"number": number} for number in range(len(odd))]


def test_a_record_can_be_replaced_and_withdrawn(board: Board) -> None:
    board.publish("db", {"n": 1})
    board.publish("db", {"n": 2})
    assert board.read("db") == {"n": 2}

    board.withdraw("db")
    board.withdraw("db")

    assert board.read("db") is None


def test_a_broken_record_counts_as_none(board: Board, tmp_path: Path) -> None:
    board.publish("db", {"n": 1})
    (path,) = tmp_path.rglob("*.json")
    path.write_text('{"n": ')

    assert board.read("db") is None


def test_a_reader_sees_all_of_a_record_or_nothing(board: Board) -> None:
    stop, torn = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            record = board.read("db")
            if record and len(set(record["words"])) != 1:
                torn.append(record)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        board.publish("db", {"words": [number] * 2000})
    stop.set()
    reader.join()

    assert torn == []


def test_whoever_begins_leaves_a_note_for_who_takes_over(board: Board) -> None:
    assert not board.was_started("db")

    board.mark_started("db")

    assert board.was_started("db")
    assert not board.was_started("web")


def test_a_withdrawn_name_has_not_begun(board: Board) -> None:
    board.mark_started("db")
    board.withdraw("db")

    assert not board.was_started("db")


def test_clearing_leaves_what_is_named(board: Board) -> None:
    for name in ("a", "b", "c"):
        board.mark_started(name)
        board.publish(name, {"name": name})

    board.clear(but=("b",))

    assert [board.read(name) for name in ("a", "b", "c")] == [None, {"name": "b"}, None]


# -- the lock of a name -----------------------------------------------------------------------------------------------


def hold(folder: Path, ready: str) -> subprocess.Popen[bytes]:
    """A process that holds the lock of "db" until it is killed; returns when it has it."""
    code = f"""
import sys
from pathlib import Path
from pytest_isolate.sharing.board import Board
board = Board(Path({str(folder)!r}))
with board.claim("db", lambda: None):
    board.mark_started("db")
    print({ready!r}, flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().decode().strip() == ready
    return process


@contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with hold(folder, "has it") as process:
        yield process
        process.kill()


def test_a_name_is_held_by_one_at_a_time(board: Board) -> None:
    inside, most = 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with board.claim("db", no_check):
            with counting:
                inside += 1
                most = max(most, inside)
            time.sleep(0.005)
            with counting:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1


def test_other_names_are_free_meanwhile(board: Board) -> None:
    with board.claim("db", no_check), board.claim("web", no_check):
        assert all(is_claimed(board, name) for name in ("db", "web"))
    assert not is_claimed(board, "db")


def is_claimed(board: Board, name: str) -> bool:
    """Whether somebody else would have to wait for it."""
    asked: list[int] = []

    def give_up() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise InterruptedError

    def claim() -> bool:
        with suppress(InterruptedError), board.claim(name, give_up):
            return False
        return True

    with ThreadPoolExecutor(1) as other:
        return other.submit(claim).result()


def test_a_lock_ends_with_its_holder_however_it_dies(board: Board, tmp_path: Path) -> None:
    with holding(tmp_path / "board") as holder:
        threading.Timer(0.1, holder.send_signal, [signal.SIGKILL]).start()

        with board.claim("db", no_check):
            assert holder.wait(5) == -signal.SIGKILL
            assert board.was_started("db"), "the one who takes over sees that there may be leftovers"
            assert board.read("db") is None


def test_a_lock_ends_with_a_holder_whose_children_live_on(tmp_path: Path) -> None:
    """A service's lock must not be kept by a process that the holder started."""
    code = f"""
import subprocess, sys
from pathlib import Path
from pytest_isolate.sharing.board import Board
with Board(Path({str(tmp_path)!r})).claim("db", lambda: None):
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.kill()
        try:
            with Board(tmp_path).claim("db", deadline(60)):
                os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def deadline(seconds: float):
    end = time.monotonic() + seconds

    def check() -> None:
        assert time.monotonic() < end, "not in time"

    return check


def test_whoever_waits_can_give_up(board: Board, tmp_path: Path) -> None:
    asked = 0

    def give_up() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise InterruptedError

    with holding(tmp_path / "board"), pytest.raises(InterruptedError), board.claim("db", give_up):
        pass


def test_lock_files_stay(board: Board, tmp_path: Path) -> None:
    """Removing one would let in two: the one who waits on the old file, and one who makes a new one."""
    with board.claim("db", no_check):
        board.publish("db", {"n": 1})
    before = set((tmp_path / "board").glob("*.lock"))
    board.withdraw("db")
    board.clear()

    assert before
    assert set((tmp_path / "board").glob("*.lock")) == before


def test_an_error_inside_lets_go_of_the_name(board: Board) -> None:
    with pytest.raises(ZeroDivisionError), board.claim("db", no_check):
        raise ZeroDivisionError
    with board.claim("db", deadline(60)):
        pass


# -- a race of processes ----------------------------------------------------------------------------------------------


def race(folder: str, rounds: int, barrier, made) -> None:
    board = Board(Path(folder))
    for number in range(rounds):
        name = f"round {number}"
        barrier.wait(60)
        with board.claim(name, no_check):
            if board.read(name) is None:
                board.mark_started(name)
                made.put(number)
                board.publish(name, {"maker": os.getpid()})
        record = board.read(name)
        assert record is not None


def test_eight_processes_that_race_make_each_thing_once(tmp_path: Path) -> None:
    rounds, racers = 40, 8
    barrier, made = SPAWN.Barrier(racers), SPAWN.Queue()
    processes = [SPAWN.Process(target=race, args=(str(tmp_path), rounds, barrier, made)) for _ in range(racers)]
    for process in processes:
        process.start()
    counts = Counter(made.get(timeout=60) for _ in range(rounds))
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0] * racers
    assert counts == dict.fromkeys(range(rounds), 1)
    assert made.empty()


# -- leases -----------------------------------------------------------------------------------------------------------

ROOM = Resources(memory_bytes=100 * MIB, containers=1)
BUDGET = Resources(memory_bytes=300 * MIB, containers=99)


def take(table: LeaseTable, name: str) -> Refused | None:
    return table.update(lambda leases: grant(leases, Lease(name=name, room=ROOM), BUDGET))


def test_leases_are_seen_by_every_process(tmp_path: Path) -> None:
    assert take(LeaseTable(tmp_path), "a") is None
    assert take(LeaseTable(tmp_path), "b") is None
    seen: list[tuple[Lease, ...]] = []
    LeaseTable(tmp_path).update(lambda leases: seen.append(leases) or leases)

    assert [lease.name for lease in seen[0]] == ["a", "b"]


def test_no_lock_makes_the_folder_of_a_run_that_has_ended_anew(tmp_path: Path) -> None:
    folder = create_run_folder("r1", "owner")
    table, board = LeaseTable(folder), Board(folder)
    remove_run_folder(folder)

    with pytest.raises(PathError):
        take(table, "a")
    with pytest.raises(PathError), board.claim("db", no_check):
        pytest.fail("held")
    assert not folder.exists()


def test_a_lease_is_read_as_it_was_written(tmp_path: Path) -> None:
    lease = Lease(name="a", room=ROOM, holder="gw1", max_claim=BUDGET)
    LeaseTable(tmp_path).update(lambda leases: (*leases, lease))
    seen: list[tuple[Lease, ...]] = []
    LeaseTable(tmp_path).update(lambda leases: seen.append(leases) or leases)

    assert seen == [(lease,)]


def test_a_refusal_leaves_the_table_as_it_is(tmp_path: Path) -> None:
    table = LeaseTable(tmp_path)
    for name in "abc":
        take(table, name)
    before = (tmp_path / "leases").read_text()

    refused = take(table, "d")

    assert isinstance(refused, Refused)
    assert "a, b, c" in refused.reason
    assert (tmp_path / "leases").read_text() == before


def test_an_error_in_a_change_leaves_the_table_as_it_is(tmp_path: Path) -> None:
    table = LeaseTable(tmp_path)
    take(table, "a")

    def broken(_: tuple[Lease, ...]) -> tuple[Lease, ...]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        table.update(broken)

    assert [lease["name"] for lease in json.loads((tmp_path / "leases").read_text())["leases"]] == ["a"]
    assert take(table, "b") is None


def grab(folder: str, granted) -> None:
    granted.put(sum(take(LeaseTable(Path(folder)), f"{os.getpid()}-{n}") is None for n in range(5)))


def test_processes_that_grab_at_once_are_never_given_more_than_there_is(tmp_path: Path) -> None:
    granted = SPAWN.Queue()
    processes = [SPAWN.Process(target=grab, args=(str(tmp_path), granted)) for _ in range(4)]
    for process in processes:
        process.start()

    assert sum(granted.get(timeout=60) for _ in processes) == 3
    for process in processes:
        process.join(60)


# -- folders ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_run_s_folder_is_for_this_user_only(temporary: Path) -> None:
    folder = create_run_folder("abcd", "owner text")

    assert folder.parent == temporary
    assert mode(folder) == 0o700


ME = read_owner()
GONE = replace(ME, start_time="not mine")


def test_removing_a_run_s_folder_is_safe_to_repeat(temporary: Path) -> None:
    one, other = create_run_folder("abcd", "one"), create_run_folder("ef01", "other")
    (one / "waits").mkdir()
    (one / "waits" / "note").touch()

    remove_run_folder(one)
    remove_run_folder(one)

    assert list(temporary.iterdir()) == [other]


def test_whoever_is_killed_while_a_folder_goes_leaves_its_owner_in_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = create_run_folder("abcd", GONE.encode()), shutil.rmtree
    (folder / "0.tar").write_bytes(b"half a database")
    (folder / "waits").mkdir()

    def killed(path: Path, **options: bool) -> None:
        if path == folder:
            raise KeyboardInterrupt
        real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_run_folder(folder)
    assert os.listdir(folder) == ["owner"]

    remove_dead_folders(ME)

    assert not folder.exists()


@pytest.mark.parametrize("content", [(), ("owner",)])
def test_a_folder_whose_maker_was_killed_before_it_was_signed_goes_later(
    temporary: Path, content: tuple[str, ...]
) -> None:
    folder = temporary / "pytest-isolate-abcd-xyz"
    folder.mkdir()
    for name in content:
        (folder / name).touch()
    remove_dead_folders(ME)
    assert folder.exists()

    os.utime(folder, times=(time.time() - 7200,) * 2)
    remove_dead_folders(ME)

    assert not folder.exists()


def test_a_folder_that_cannot_be_signed_is_not_left(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(PathError):
        create_run_folder("abcd", "owner")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("kind", ["content without an owner", "a folder as owner", "a link", "a file"])
def test_what_is_no_folder_of_ours_is_left_alone(temporary: Path, tmp_path: Path, kind: str) -> None:
    path = temporary / "pytest-isolate-abcd-xyz"
    if kind == "a link":
        create_run_folder("mine", GONE.encode()).rename(tmp_path / "mine")
        path.symlink_to(tmp_path / "mine")
    elif kind == "a file":
        path.touch()
    else:
        (path / ("owner" if kind == "a folder as owner" else "other")).mkdir(parents=True)
    os.utime(path, times=(0, 0))

    remove_dead_folders(ME)

    assert path.exists()


@pytest.mark.unix
def test_the_folder_of_another_user_is_left_alone(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run_folder("abcd", GONE.encode())
    monkeypatch.setattr("os.getuid", lambda: os.stat(temporary).st_uid + 1)

    remove_dead_folders(ME)

    assert folder.exists()


def test_a_board_s_folder_is_for_this_user_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        board = Board(tmp_path / "a" / "b")
        board.publish("db", {"n": 1})
        with board.claim("db", no_check):
            pass
    finally:
        os.umask(old)

    assert mode(tmp_path / "a" / "b") == 0o700


@pytest.mark.unix
def test_a_board_s_folder_that_others_could_open_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir(mode=0o755)
    Board(tmp_path / "b")

    assert mode(tmp_path / "b") == 0o700


def test_locks_of_this_user_hold_between_processes(tmp_path: Path) -> None:
    one, other = open_locks(tmp_path), open_locks(tmp_path)
    with one("build x"), other("build y"), pytest.raises(TimeoutError):
        FileLock(next(tmp_path.rglob("*.lock"))).acquire(timeout=0)
