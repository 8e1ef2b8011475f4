"""The guardian on macOS and other Unixes: an event of the kernel's queue, and a socket in a folder of its own."""

from __future__ import annotations

import select
import shutil
import socket
import sys
import tempfile
from contextlib import ExitStack

from pytest_isolate.running.cleanup import unix_socket
from pytest_isolate.running.cleanup.watched import Watched, poll_process

# TMPDIR may be a long path, and macOS takes 103 bytes for a socket's.
_SHORT_FOLDER = "/tmp"  # noqa: S108  # a folder that only this user can enter is made there


def listen(_name: str, stack: ExitStack) -> tuple[str, socket.socket, bytes]:
    """A socket in a new folder of this user only, whose name is random."""
    folder = tempfile.mkdtemp(prefix="pytest-isolate-guard-", dir=_SHORT_FOLDER)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    address = f"{folder}/socket"
    return address, unix_socket.listen_at(address), b""


connect, receive, send_sockets = unix_socket.connect_to, unix_socket.receive, unix_socket.send_sockets


def watch(pid: int, start_time: str) -> int | Watched:
    """A queue of the kernel with one event in it: the end of the process."""
    if sys.platform == "darwin" and hasattr(select, "kqueue"):
        queue = select.kqueue()
        ends = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        queue.control([ends], 0)
        return queue
    return poll_process(pid, start_time)
