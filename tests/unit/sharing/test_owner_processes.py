"""Processes as owners, asked of real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from waiting import wait_for

from pytest_isolate.sharing import cache, owners
from pytest_isolate.sharing.owners import judge, read_owner, read_start_time
from pytest_isolate.system import System

SLEEP = "import sys; sys.stdin.read()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEP], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_owner_is_this_process() -> None:
    owner = read_owner()

    assert owner.pid == os.getpid()
    assert owner.start_time == read_start_time(os.getpid())
    assert all([owner.host, owner.boot, owner.pid_namespace])


def test_owner_is_the_same_each_time_it_is_read() -> None:
    assert read_owner() == read_owner()


def test_owner_does_not_hold_blanks_that_a_command_line_would_break() -> None:
    assert " " not in read_owner().start_time


def test_this_process_is_alive() -> None:
    assert not judge(read_owner(), read_owner(), read_start_time).is_dead


def test_running_process_has_a_start_time_of_its_own(child: subprocess.Popen[bytes]) -> None:
    assert read_start_time(child.pid) == read_start_time(child.pid) is not None


def test_process_id_that_nobody_has_is_nobody() -> None:
    with open("/proc/sys/kernel/pid_max") as file:
        assert read_start_time(int(file.read()) + 1) is None


def test_zombie_is_dead(child: subprocess.Popen[bytes]) -> None:
    owner = replace(read_owner(), pid=child.pid, start_time=read_start_time(child.pid) or "")
    assert not judge(owner, read_owner(), read_start_time).is_dead
    child.kill()
    # Its parent, this process, has not asked how it ended: it stays in the process table.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert os.path.exists(f"/proc/{child.pid}")
    assert judge(owner, read_owner(), read_start_time).is_dead


def test_stopped_process_is_alive(child: subprocess.Popen[bytes]) -> None:
    """A run that is paused in a debugger, or by Ctrl-Z, goes on later."""
    owner = replace(read_owner(), pid=child.pid, start_time=read_start_time(child.pid) or "")
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)

    assert not judge(owner, read_owner(), read_start_time).is_dead
    child.send_signal(signal.SIGCONT)


@pytest.mark.linux
def test_command_name_with_blanks_and_parentheses_does_not_shift_the_start_time() -> None:
    code = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b') R 1 (2'); print('named', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as odd:
        before = read_start_time(odd.pid)
        assert odd.stdout is not None
        odd.stdout.readline()
        after = read_start_time(odd.pid)
        odd.kill()

    assert before == after
    assert after is not None
    assert after.isdecimal()


def test_children_of_one_moment_differ_from_later_ones(child: subprocess.Popen[bytes]) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    time.sleep(2 / ticks)
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEP], stdin=subprocess.PIPE) as later:
        assert read_start_time(child.pid) != read_start_time(later.pid)
        later.kill()


# -- systems that have no ids of boots ---------------------------------------------------------------------------------


@pytest.fixture
def _macos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(owners, "SYSTEM", System.MACOS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.usefixtures("_macos")
def test_without_ids_of_boots_the_dead_are_told_from_the_living_all_the_same(child: subprocess.Popen[bytes]) -> None:
    me = read_owner()
    other = replace(me, pid=child.pid, start_time=read_start_time(child.pid) or "")

    assert judge(me, read_owner(), read_start_time).is_alive
    assert judge(other, me, read_start_time).is_alive
    assert judge(replace(other, start_time="1.00"), me, read_start_time).is_dead
    child.kill()
    wait_for(lambda: read_start_time(child.pid) is None)  # it is a zombie
    assert judge(other, me, read_start_time).is_dead
    child.wait()
    assert judge(other, me, read_start_time).is_dead


@pytest.mark.usefixtures("_macos")
def test_without_an_id_of_the_machine_a_user_has_one_for_each_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = read_owner()
    assert me.host == read_owner().host
    assert len(me.host) > 32
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))

    verdict = judge(me, read_owner(), read_start_time)
    assert not verdict.is_dead
    assert verdict.reason == "its owner runs on another host"


def test_on_windows_the_cache_is_in_the_users_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(cache, "SYSTEM", System.WINDOWS)

    assert cache.cache_folder() == tmp_path / "local" / "pytest-isolate"
