"""Unix sockets of the guardian, which Linux and macOS have alike: they carry other sockets along."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

MOST_SOCKETS = 64
"""Sockets that one message carries along."""


def listen_at(path: str) -> socket.socket:
    """A socket that listens at a path, or under an abstract name, which begins with a zero byte."""
    if sys.platform == "win32":
        raise NotImplementedError
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    return listener


def connect_to(path: str, timeout_s: float) -> socket.socket:
    """A connection to what listens there."""
    if sys.platform == "win32":
        raise NotImplementedError
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(timeout_s)
        link.connect(path)
    except BaseException:
        link.close()
        raise
    return link


def send_sockets(link: socket.socket, message: bytes, descriptors: Sequence[int]) -> None:
    """Hand sockets over, with as many messages as that takes."""
    if sys.platform == "win32":
        raise NotImplementedError
    for first in range(0, len(descriptors), MOST_SOCKETS):
        socket.send_fds(link, [message], descriptors[first : first + MOST_SOCKETS])


def receive(client: socket.socket) -> tuple[bytes, list[int]]:
    """A message, and the sockets that came with it."""
    if sys.platform == "win32":
        raise NotImplementedError
    message, descriptors, _, _ = socket.recv_fds(client, 64, MOST_SOCKETS)
    return message, descriptors
