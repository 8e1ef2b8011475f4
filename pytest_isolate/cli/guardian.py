"""The guardian's program: `python -m pytest_isolate.cli.guardian`, which ends when the guardian is armed behind it.

What talks to an engine is imported in a child process for the first check, and here only when there is something to
remove: a guardian waits for as long as a run lasts, and on a busy machine there are many.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_isolate.running.cleanup.guardian import ARMED, Guardian

if TYPE_CHECKING:
    from pytest_isolate.engine.api import Removing


def main(socket_name: str, run_id: str, controller_pid: str, start_time: str, program: str = "") -> None:
    """Arm a guardian that watches the controller, say so on standard output, and leave it to itself.

    The program is that of an engine without a daemon, which is to serve at the address in DOCKER_HOST meanwhile.
    """
    with ExitStack() as stack:
        if program:
            from pytest_isolate.engine.connect import serving
            from pytest_isolate.errors import EngineError

            try:
                stack.enter_context(serving(program))
            except EngineError as error:
                sys.exit(str(error))
        _guard(socket_name, run_id, int(controller_pid), start_time)


def _guard(socket_name: str, run_id: str, controller_pid: int, start_time: str) -> None:
    watched = os.pidfd_open(controller_pid)
    endpoint = _ask_in_child(run_id, controller_pid, start_time)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0" + socket_name)
    listener.listen(128)
    if os.fork() != 0:
        os.write(1, ARMED)
        os._exit(0)
    _detach()
    Guardian(watched=watched, listener=listener, remove=lambda: _remove(endpoint, run_id)).run()
    _remove_folders()


def _detach() -> None:
    """Keep nothing of the process that started this one: no folder busy, no pipe open."""
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _ask_in_child(run_id: str, controller_pid: int, start_time: str) -> str:
    """The engine's address, found and questioned by a process that ends again."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.write(writing, _find_engine(run_id, controller_pid, start_time).encode())
        except BaseException as error:
            os.write(2, f"{error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        endpoint = pipe.read()
    os.waitpid(child, 0)
    if not endpoint:
        sys.exit(1)
    return endpoint


def _find_engine(run_id: str, controller_pid: int, start_time: str) -> str:
    """The engine that the plugin uses, proved to understand the questions that removing will ask."""
    from pytest_isolate.engine.connect import find_for_removal
    from pytest_isolate.errors import EngineError
    from pytest_isolate.model.identity import LABEL_RUN
    from pytest_isolate.sharing.owners import read_start_time

    if read_start_time(controller_pid) != start_time:
        raise EngineError(f"process {controller_pid}, which was to be watched, is gone")
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


def _remove(endpoint: str, run_id: str) -> bool:
    """Remove all of the run but what it has left on purpose; return True while there may be more to remove."""
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
        return True  # asked again until nothing is left, or the time is over
    return bool(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
