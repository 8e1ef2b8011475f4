"""The program that makes system calls for somebody else, carried out on this host by a process without rights."""

from __future__ import annotations

import io
import platform
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_isolate.errors import EngineError
from pytest_isolate.running.faults.netlink import parse_errors
from pytest_isolate.running.faults.remote_syscalls import (
    CONTENT_BYTES,
    MACHINES,
    PATH,
    RECEIVED_BYTES,
    RemoteSyscalls,
    build_program,
    program_archive,
)

_NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
# The other machine's program runs where an emulator is installed (Debian: qemu-user-static).
_EMULATORS = {"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static"}
AF_NETLINK, SOCK_RAW, ROUTE = 16, 3, 0


class Process:
    """A process of this host, as a session in a container."""

    def __init__(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid

    def send(self, text: bytes) -> None:
        assert self._process.stdin
        # In pieces, as an engine may hand it on.
        for start in range(0, len(text), 300):
            self._process.stdin.write(text[start : start + 300])
            self._process.stdin.flush()

    def receive(self, _: float) -> tuple[int, bytes] | None:
        assert self._process.stdout
        piece = self._process.stdout.read1(100)
        return (1, piece) if piece else None

    def exit_code(self) -> int:
        return self._process.wait(5)

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()
        self._process.wait(5)


@pytest.fixture(params=sorted(MACHINES))
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Process, RemoteSyscalls]]:
    name = request.param
    emulator = [] if name == _NATIVE else [shutil.which(_EMULATORS[name])]
    if sys.platform != "linux" or None in emulator:
        pytest.skip(f"neither this machine nor an emulator runs programs for {name}")
    path = tmp_path / "calls"
    path.write_bytes(build_program(MACHINES[name]))
    path.chmod(0o700)
    process = Process([*emulator, str(path)])
    yield process, RemoteSyscalls(process, MACHINES[name])
    process.close()


def test_a_call_is_made_and_its_result_told(started: tuple[Process, RemoteSyscalls]) -> None:
    process, calls = started
    assert [calls.ask("getpid").result for _ in range(3)] == [process.pid] * 3


def test_an_error_is_a_negative_number(started: tuple[Process, RemoteSyscalls]) -> None:
    _, calls = started
    assert calls.ask("socket", 9999, 0, 0).result < 0
    assert calls.receive_now(99).result == -9  # EBADF


def test_bytes_go_along_and_come_back(started: tuple[Process, RemoteSyscalls]) -> None:
    """Asked for a network interface that does not exist, the kernel says so (RTM_GETLINK, ENODEV)."""
    _, calls = started
    number = calls.ask("socket", AF_NETLINK, SOCK_RAW, ROUTE).result
    message = struct.pack("<IHHIIBxHiII", 32, 18, 1, 7, 0, 0, 0, 99999, 0, 0)
    assert calls.ask("sendto", number, calls.content_at, 32, 0, 0, 0, content=message).result == 32
    reply = calls.receive_now(number)
    assert 20 < reply.result <= RECEIVED_BYTES
    assert parse_errors(reply.content[: reply.result]) == [19]


def test_it_waits_for_whichever_comes_first(started: tuple[Process, RemoteSyscalls]) -> None:
    _, calls = started
    number = calls.ask("socket", AF_NETLINK, SOCK_RAW, ROUTE).result
    both = b"".join(fd.to_bytes(4, "little") + b"\1\0\0\0" for fd in (0, number))
    calls.send("ppoll", calls.content_at, 2, 0, 0, content=both)
    calls.send("getpid")
    replies = [calls.receive(5), calls.receive(5)]
    assert [reply.result > 0 for reply in replies if reply] == [True, True]


def test_it_ends_with_its_input(started: tuple[Process, RemoteSyscalls]) -> None:
    process, _ = started
    process.close()
    assert process.exit_code() == 0


def test_the_end_of_the_program_is_told() -> None:
    process = Process(["sh", "-c", "echo exec format error"])
    with pytest.raises(EngineError) as caught:
        RemoteSyscalls(process, MACHINES["amd64"])
    process.close()
    assert str(caught.value) == "a program could not be run in a container\n  found  exec format error"


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_the_archive_holds_the_program_for_root_to_run(name: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(program_archive(MACHINES[name]))) as archive:
        (entry,) = archive.getmembers()
        assert ("/" + entry.name, entry.mode, entry.uid) == (PATH, 0o700, 0)
        content = archive.extractfile(entry)
        assert content
        assert content.read() == build_program(MACHINES[name])


def test_what_goes_along_has_an_end() -> None:
    assert CONTENT_BYTES >= 900
