"""The parts of the guardian that each system has in its own way; the only place that chooses between them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol

from pytest_isolate.running.cleanup.watched import Watched
from pytest_isolate.system import SYSTEM, System


class GuardSystem(Protocol):
    """A system: the modules `guard_linux`, `guard_macos` and `guard_windows`."""

    def listen(self, name: str, stack: ExitStack) -> tuple[str, socket.socket, bytes]:
        """The address of the guardian of this name, its socket, and the token that clients say first, if any.

        The name is known to processes of the run only. Nothing is left of the socket when the stack ends.
        """

    def connect(self, address: str, timeout_s: float) -> socket.socket:
        """A connection to the guardian at an address."""

    def watch(self, pid: int, start_time: str) -> int | Watched:
        """Something that becomes readable when the process has ended; OSError where it is gone already."""

    def send_sockets(self, link: socket.socket, message: bytes, descriptors: Sequence[int]) -> None:
        """Hand sockets over together with a message."""

    def receive(self, client: socket.socket) -> tuple[bytes, list[int]]:
        """A message, and the sockets that came with it."""


def this_system() -> GuardSystem:
    """The system that this process runs on."""
    if SYSTEM is System.LINUX:
        from pytest_isolate.running.cleanup import guard_linux

        return guard_linux
    if SYSTEM is System.MACOS:
        from pytest_isolate.running.cleanup import guard_macos

        return guard_macos
    from pytest_isolate.running.cleanup import guard_windows

    return guard_windows
