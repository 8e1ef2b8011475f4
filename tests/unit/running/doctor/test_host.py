"""What doctor finds out about a machine and an engine's socket."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_isolate.engine.docker.diagnose import read_socket, try_candidates
from pytest_isolate.running.doctor.host import Route, parse_route, read_disk, read_groups, read_inotify, read_routes

ETH = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"
DEFAULT = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"


def test_a_route_is_read_in_the_byte_order_of_the_machine() -> None:
    assert parse_route(ETH) == Route("192.168.0.0/24", "eth0")


def test_the_default_route_leads_nowhere_in_particular() -> None:
    assert parse_route(DEFAULT) is None


@pytest.mark.skipif(not Path("/proc/net/route").exists(), reason="needs Linux")
def test_the_routes_of_this_machine_can_be_read() -> None:
    assert all("/" in route.subnet and route.interface for route in read_routes())


def test_a_disk_is_read_as_df_does(tmp_path: Path) -> None:
    disk, found = read_disk("temp", str(tmp_path)), os.statvfs(tmp_path)
    assert disk.size_bytes == found.f_frsize * found.f_blocks
    assert disk.free_bytes is not None
    assert 0 <= disk.free_bytes <= disk.size_bytes


def test_a_folder_that_is_not_there_has_no_disk(tmp_path: Path) -> None:
    assert read_disk("engine", str(tmp_path / "no")).free_bytes is None


@pytest.mark.linux
@pytest.mark.skipif(not Path("/proc/sys/fs/inotify").exists(), reason="needs Linux")
def test_inotify_instances_of_this_user_are_counted() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    opened = [libc.inotify_init() for _ in range(5)]
    try:
        after = read_inotify()
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert after is not None
    # Others on this machine open and close theirs meanwhile.
    assert after.used_instances >= 5
    assert after.max_instances > 0


def test_the_groups_of_this_process_have_names_or_numbers() -> None:
    assert all(read_groups())


# -- addresses of engines ---------------------------------------------------------------------------------------------


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    """A socket behind which somebody listens who is no engine."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()

    def refuse() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.recv(1000)
                client.sendall(b"220 mail.example.org ESMTP\r\n")

    thread = threading.Thread(target=refuse)
    thread.start()
    yield tmp_path / "s"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


@pytest.mark.unix
def test_what_answers_but_is_no_engine_is_told_as_that(listening: Path) -> None:
    (attempt,), engine = try_candidates({"DOCKER_HOST": f"unix://{listening}"})
    assert engine is None
    assert "not a container engine" in attempt.answer
    assert attempt.socket is not None
    assert attempt.socket.may_use


@pytest.mark.unix
def test_a_socket_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    (attempt,), _ = try_candidates({"DOCKER_HOST": f"unix://{tmp_path}/no"})
    assert (attempt.answer, attempt.named_by, attempt.socket) == ("no such socket", "DOCKER_HOST", None)


def test_a_port_where_nobody_listens_is_told_as_that() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        (attempt,), _ = try_candidates({"DOCKER_HOST": f"tcp://127.0.0.1:{held.getsockname()[1]}"})
    assert "refused" in attempt.answer


@pytest.mark.unix
def test_owner_and_mode_of_a_socket_are_read(listening: Path) -> None:
    listening.chmod(0o600)
    found = read_socket(f"unix://{listening}")
    assert found is not None
    assert (found.path, found.mode) == (str(listening), "600")
    assert read_socket("tcp://127.0.0.1:2375") is None
