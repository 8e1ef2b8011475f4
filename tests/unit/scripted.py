"""A server that says, byte by byte, what a test has laid out, and hangs up."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

VERSION = b'{"Version": "27.0", "ApiVersion": "1.47", "MinAPIVersion": "1.24"}'


def answer(body: bytes, status: str = "200 OK") -> bytes:
    """An HTTP answer with its length."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(*chunks: bytes) -> bytes:
    """An HTTP answer in chunks, with their end."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"


class Scripted:
    """Answers the question for its version, and each other connection with `says`; reads the body where told to."""

    def __init__(
        self, says: bytes = b"", *, version: bytes | None = None, path: Path | None = None, reads_bodies: bool = True
    ) -> None:
        self.says = says
        self.version = answer(VERSION) if version is None else version
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.stays_open = threading.Event()
        self.stays_open.set()
        self._reads_bodies = reads_bodies
        if path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.address = f"unix://{path}"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stays_open.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            with client, suppress(OSError):
                self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        with client.makefile("rb") as reader:
            line = reader.readline().decode().strip()
            headers = dict(
                h.decode().strip().lower().split(": ", 1) for h in iter(reader.readline, b"\r\n") if h.strip()
            )
            if self._reads_bodies:
                self.bodies.append(reader.read(int(headers.get("content-length", 0))))
            self.asked.append(line)
            client.sendall(self.version if " /version " in line else self.says)
            if " /version " not in line:
                self.stays_open.wait(120)
