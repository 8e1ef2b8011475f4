"""A Podman without a daemon: where no engine listens, its API service is started for as long as it is needed.

Small, as the guardian holds on to it. The process that has started a service ends it; left alone, it ends by itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which

from msgspec import Struct

from pytest_isolate.engine.docker.transport.discovery import USUAL, candidates_here
from pytest_isolate.errors import EngineUnreachable
from pytest_isolate.system import SYSTEM, System

_UNIX = "unix://"
# A service that is asked nothing for so long ends. A run listens to its events all the time.
_IDLE_S = 300
# It answers after 0.2 s; the first one after a boot, or on a busy machine, takes longer.
_ANSWERS_WITHIN_S = 30
_PAUSE_S = 0.01
_LAST_WORDS_BYTES = 2000
# struct ucred of unix(7): process, user, group.
_CREDENTIALS = struct.Struct("3i")


class OwnService(Struct, frozen=True, kw_only=True):
    """A service that is to be started: by which program, at which address."""

    program: str
    address: str

    @property
    def folder(self) -> Path:
        """Folder of its socket, and of what it says."""
        return Path(self.address.removeprefix(_UNIX)).parent


def find_own_service(env: Mapping[str, str], name: str) -> OwnService | None:
    """The service of this name; None where an engine is named, or listens at a usual place, or there is no Podman.

    Processes that give the same name find the same one.
    """
    program = which("podman", path=env.get("PATH"))
    # Elsewhere it is a client of a virtual machine, which serves by itself.
    if not program or SYSTEM is not System.LINUX:
        return None
    runtime = env.get("XDG_RUNTIME_DIR", "")
    above = Path(runtime if os.access(runtime, os.W_OK) else tempfile.gettempdir())
    own = OwnService(program=program, address=f"{_UNIX}{above}/pytest-isolate-podman-{name}/podman.sock")
    if own.folder.exists():
        return own
    candidates = list(candidates_here(env))
    return None if any(c.named_by != USUAL or _listens(c.address) for c in candidates) else own


def _start(own: OwnService) -> int:
    """A descriptor of the process that serves from now on."""
    if sys.platform != "linux":
        raise NotImplementedError
    own.folder.mkdir(mode=0o700)
    said = own.folder / "podman.log"
    said.touch(mode=0o600)
    pid = os.posix_spawn(
        own.program,
        [own.program, "system", "service", f"--time={_IDLE_S}", own.address],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(said), os.O_WRONLY | os.O_APPEND, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return os.pidfd_open(pid)


def _wait_until_served(own: OwnService, process: int) -> None:
    """Return when it listens; EngineUnreachable, with what it said, when it ends before, or takes too long."""
    deadline = time.monotonic() + _ANSWERS_WITHIN_S
    while not _listens(own.address):
        if select.select([process], [], [], _PAUSE_S)[0] or time.monotonic() > deadline:
            raise EngineUnreachable(
                "Podman's API service, which was to be started because no engine answers, does not serve",
                tried=f"{own.program} system service {own.address}",
                found=_last_words(own) or "it ended without a word",
                do="see what `podman info` says; or start another engine, or name it in DOCKER_HOST",
            )


def _find_listener(own: OwnService) -> int:
    """A descriptor of the process that listens: without root it is a child of the one that was started."""
    if sys.platform != "linux":
        raise NotImplementedError
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(own.address.removeprefix(_UNIX))
        pid, _, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return os.pidfd_open(pid)


def _end(own: OwnService, processes: Iterable[int]) -> None:
    """Let it end, and remove its folder. Its containers go on."""
    if sys.platform != "linux":
        raise NotImplementedError
    # Each process is told by itself: one was seen to end without telling its child, which then served for ever.
    for process in processes:
        with suppress(ProcessLookupError):  # it has ended by itself
            signal.pidfd_send_signal(process, signal.SIGTERM)
        os.close(process)
    for path in (own.folder / "podman.log", own.folder / "podman.sock"):
        path.unlink(missing_ok=True)
    own.folder.rmdir()


@contextmanager
def serving(own: OwnService) -> Iterator[None]:
    """A service that serves during the block."""
    processes = [_start(own)]
    try:
        _wait_until_served(own, processes[0])
        with suppress(OSError):  # it has ended meanwhile: the next question to it says so
            processes.insert(0, _find_listener(own))
        yield
    finally:
        _end(own, processes)


def wait_for_other(address: str, has_failed: Callable[[], bool]) -> None:
    """Return when a service that another process starts listens, or when that has failed."""
    while not _listens(address) and not has_failed():
        time.sleep(_PAUSE_S)


def _listens(address: str) -> bool:
    if sys.platform != "linux":
        raise NotImplementedError
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(address.removeprefix(_UNIX))
        except OSError:
            return False
    return True


def _last_words(own: OwnService) -> str:
    try:
        return (own.folder / "podman.log").read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS_BYTES:].strip()
    except OSError:
        return ""
