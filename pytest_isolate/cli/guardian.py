"""The guardian's program: `python -m pytest_isolate.cli.guardian`, which ends when the guardian is armed behind it.

What talks to an engine is imported in a child process for the first check, and here only when there is something to
remove: a guardian waits for as long as a run lasts, and on a busy machine there are many.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_isolate.running.cleanup.guard_system import this_system
from pytest_isolate.running.cleanup.guardian import ARMED, Guardian
from pytest_isolate.running.cleanup.watched import Watched
from pytest_isolate.system import SYSTEM, System

if TYPE_CHECKING:
    import subprocess

    from pytest_isolate.engine.api import Removing

_BEHIND = "--behind"
"""In place of a program: the process that stays, where a process cannot split itself in two."""


def main(name: str, run_id: str, controller_pid: str, start_time: str, program: str = "") -> None:
    """Arm a guardian that watches the controller, say so on standard output, and leave it to itself.

    The program is that of an engine without a daemon, which is to serve at the address in DOCKER_HOST meanwhile.
    """
    pid = int(controller_pid)
    with ExitStack() as stack:
        if program == _BEHIND:
            _guard(name, run_id, _watch(pid, start_time), sys.stdin.read(), stack)
            return
        if program:
            from pytest_isolate.engine.connect import serving
            from pytest_isolate.errors import EngineError

            try:
                stack.enter_context(serving(program))
            except EngineError as error:
                sys.exit(str(error))
        if SYSTEM is System.LINUX:
            watched = _watch_or_end(pid, start_time)
            endpoint, is_there = _ask_in_child(run_id, pid, start_time)
            if not is_there:
                _clean_up_after(name, run_id, endpoint, stack)
                sys.exit(f"process {pid}, which was to be watched, is gone")
            _guard(name, run_id, watched, endpoint, stack)
        else:
            _guard_in_other(name, run_id, pid, start_time)


def _watch(pid: int, start_time: str) -> int | Watched:
    try:
        return this_system().watch(pid, start_time)
    except OSError as error:
        sys.exit(f"process {pid} cannot be watched: {error}")


def _watch_or_end(pid: int, start_time: str) -> int | Watched:
    """The same, and something to read at once for a controller that is gone already."""
    try:
        return this_system().watch(pid, start_time)
    except ProcessLookupError:
        return _ended()


def _ended() -> int:
    """A descriptor that is readable, as that of a process that has ended."""
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def _clean_up_after(name: str, run_id: str, endpoint: str, stack: ExitStack) -> None:
    """Remove what was made by a controller that has died before its guardian watched."""
    _, listener, token = this_system().listen(name, stack)
    Guardian(watched=_ended(), listener=listener, token=token, remove=lambda: _remove(endpoint, run_id)).run()
    _remove_folders()


def _guard(name: str, run_id: str, watched: int | Watched, endpoint: str, stack: ExitStack) -> None:
    address, listener, token = this_system().listen(name, stack)
    # The process that was started has ended then: this one is a child of init.
    if SYSTEM is System.LINUX and hasattr(os, "fork") and os.fork() != 0:
        os._exit(0)
    with suppress(OSError):  # who waits for it has died, and left something
        os.write(1, ARMED + address.encode() + b"\n")
    _detach()
    Guardian(watched=watched, listener=listener, token=token, remove=lambda: _remove(endpoint, run_id)).run()
    _remove_folders()


def _guard_in_other(name: str, run_id: str, controller_pid: int, start_time: str) -> None:
    """Arm a second process, without a fork: unsafe beside macOS' frameworks, and unknown to Windows.

    This one has asked the engine, and ends again, with the memory that it took.
    """
    from pytest_isolate.errors import EngineError

    try:
        endpoint = _find_engine(run_id, controller_pid, start_time)
    except EngineError as error:
        sys.exit(str(error))
    command = [sys.executable, "-m", "pytest_isolate.cli.guardian", name, run_id, str(controller_pid), start_time]
    other = _start_detached([*command, _BEHIND])
    assert other.stdin
    assert other.stdout
    with other.stdin, other.stdout:
        other.stdin.write(endpoint.encode())
        other.stdin.close()
        # Not to the end: in a virtual environment of Windows, python.exe is a process between, which keeps it open.
        armed = other.stdout.readline()
        if armed != ARMED:
            sys.exit((armed + other.stdout.read()).decode(errors="replace").strip())
        os.write(1, armed + other.stdout.readline())
    os._exit(0)  # the other one goes on, and is not waited for


def _start_detached(command: list[str]) -> subprocess.Popen[bytes]:
    """A process that no console of Windows, and no job that ends, ends with it where the job allows that."""
    import subprocess  # not needed on Linux, where the guardian stays small

    pipe, out = subprocess.PIPE, subprocess.STDOUT
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
        for more in (subprocess.CREATE_BREAKAWAY_FROM_JOB, 0):
            try:
                return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=out, creationflags=flags | more)  # noqa: S603
            except PermissionError:
                if not more:
                    raise
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=out)  # noqa: S603  # our own interpreter and module


def _detach() -> None:
    """Keep nothing of the process that started this one: no folder busy, no pipe open."""
    os.chdir(os.path.abspath(os.sep))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _ask_in_child(run_id: str, controller_pid: int, start_time: str) -> tuple[str, bool]:
    """The engine's address, found and questioned by a process that ends again; and whether the controller is there."""
    if sys.platform == "win32":
        raise NotImplementedError
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            endpoint = _ask_engine(run_id)
            mark = "+" if _is_there(controller_pid, start_time) else "-"
            os.write(writing, f"{mark}{endpoint}".encode())
        except BaseException as error:
            os.write(2, f"{error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    if not told:
        sys.exit(1)
    return told[1:], told[0] == "+"


def _find_engine(run_id: str, controller_pid: int, start_time: str) -> str:
    """The engine that the plugin uses; EngineError where the controller is gone."""
    from pytest_isolate.errors import EngineError

    if not _is_there(controller_pid, start_time):
        raise EngineError(f"process {controller_pid}, which was to be watched, is gone")
    return _ask_engine(run_id)


def _is_there(controller_pid: int, start_time: str) -> bool:
    from pytest_isolate.sharing.owners import read_start_time

    return read_start_time(controller_pid) == start_time


def _ask_engine(run_id: str) -> str:
    """The engine that the plugin uses, proved to understand the questions that removing will ask."""
    from pytest_isolate.engine.connect import find_for_removal
    from pytest_isolate.model.identity import LABEL_RUN

    return find_for_removal(os.environ, {LABEL_RUN: run_id})


def _remove_folders() -> None:
    """Remove what dead processes have left in the temporary folder, of this run too."""
    from pytest_isolate.sharing.folders import remove_dead_folders
    from pytest_isolate.sharing.owners import read_owner

    remove_dead_folders(read_owner())


@lru_cache
def _remover(endpoint: str) -> Removing:
    """Connect once: to log in to another host takes longer than to ask it."""
    from pytest_isolate.engine.connect import open_remover

    return open_remover(endpoint)


def _remove(endpoint: str, run_id: str) -> bool | None:
    """Remove all of the run but what it has left on purpose; return True while there may be more to remove.

    None where the engine does not answer, or refuses: then it is asked again for longer.
    """
    from pytest_isolate.errors import IsolateError
    from pytest_isolate.model.identity import LABEL_RUN
    from pytest_isolate.running.cleanup.remove import remove_all
    from pytest_isolate.running.ownership.retention import read_marks, retained_ids

    remover, labels = _remover(endpoint), {LABEL_RUN: run_id}
    try:
        kept = retained_ids(read_marks(remover), run_id)
        there = [*remover.list_containers(labels), *remover.list_volumes(labels), *remover.list_networks(labels)]
        found = set(there) - kept
        if found:
            remove_all(remover, labels, kept)
    except IsolateError:
        return None
    return bool(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
