"""Connections to Docker that change into streams, for exec and attach.

Docker's own library loses what comes right behind the answer's head: it is in the buffer of a reader that it drops.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any


class Hijacked:
    """A stream of a container, in both directions."""

    def __init__(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        text = json.dumps(body or {}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        self._socket.sendall(head.encode() + text)
        self._pending = b""
        while b"\r\n\r\n" not in self._pending:
            data = self._socket.recv(65536)
            if not data:
                break
            self._pending += data
        top, _, self._pending = self._pending.partition(b"\r\n\r\n")
        self.status = int(top.split()[1])
        self.error = "" if self.status in (101, 200) else self._read_error()

    def _read_error(self) -> str:
        self._socket.settimeout(5)
        try:
            while data := self._socket.recv(65536):
                self._pending += data
                if self._pending.rstrip().endswith((b"}", b"0")):
                    break
        except TimeoutError:
            pass
        found = self._pending.decode(errors="replace")
        return str(json.loads(found[found.index("{") : found.rindex("}") + 1])["message"])

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close_input(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def read_frames(self, *, is_terminal: bool) -> Iterator[tuple[int, bytes]]:
        """The output to its end, each piece with its stream: 1 stdout, 2 stderr. A terminal has but one."""
        while True:
            if is_terminal:
                data = self._pending or self._receive()
                self._pending = b""
                if not data:
                    return
                yield 1, data
                continue
            head = self._read(8)
            if len(head) < 8:
                return
            stream, size = struct.unpack(">BxxxL", head)
            yield stream, self._read(size)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""

    def _read(self, size: int) -> bytes:
        while len(self._pending) < size:
            data = self._receive()
            if not data:
                break
            self._pending += data
        data, self._pending = self._pending[:size], self._pending[size:]
        return data
