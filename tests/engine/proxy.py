"""A socket between a run and the engine, that a test can take away and give back."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path


class Proxy:
    """Forwards a unix socket to another one, between start() and stop()."""

    def __init__(self, path: Path, target: str) -> None:
        self.path = path
        self._target = target
        self._listening: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen(64)
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def stop(self) -> None:
        """As when a daemon ends: the socket is gone and every connection breaks."""
        if self._listening:
            _close(self._listening)
            self._listening = None
            self.path.unlink()
        with self._lock:
            while self._open:
                _close(self._open.pop())

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client = listening.accept()[0]
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            with self._lock:
                self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _close(sock: socket.socket) -> None:
    # Closing alone does not wake the thread that reads from it.
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
