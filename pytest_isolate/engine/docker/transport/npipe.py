"""Named pipes of Windows, on which Docker Desktop, Rancher Desktop and Podman's machine listen.

Bytes are pumped between the pipe and a socket, because all else here, http.client too, reads and writes sockets.
"""

from __future__ import annotations

import errno
import http.client
import os
import sys
import threading
import time

from pytest_isolate.engine.docker.transport.carrier import Duplex, TunnelledConnection, open_pumped
from pytest_isolate.engine.docker.transport.places import PIPE

_PIECE_BYTES = 1 << 16
_PAUSE_S = 0.02
# Errors of Windows (winerror.h): every instance of the pipe is taken; the other side has closed it.
_BUSY, _BROKEN = 231, 109


def pipe_path(address: str) -> str:
    """The path of a pipe in Windows' way."""
    return address.removeprefix(PIPE).replace("/", "\\")


def has_pipe(address: str) -> bool:
    """True where there is a pipe of that name. To look at the pipe itself would take one of its instances."""
    folder, _, name = pipe_path(address).rpartition("\\")
    try:
        return name.lower() in map(str.lower, os.listdir(f"{folder}\\"))
    except OSError:
        return False


class PipeConnection(TunnelledConnection):
    """HTTP over a named pipe."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = pipe_path(address)
        self._pipe: Duplex | None = None

    def connect(self) -> None:
        """Open the pipe; OSError where nothing listens."""
        self._pipe = _open(self._path, float(self.timeout or 0))
        self.sock = open_pumped(self._pipe)
        self.sock.settimeout(self.timeout)

    def explain(self) -> None:
        """Nothing more is known of its end."""

    def end(self) -> None:
        """Close the pipe."""
        http.client.HTTPConnection.close(self)
        if self._pipe:
            self._pipe.close()


if sys.platform == "win32":
    import _winapi

    class _Pipe:
        """One open pipe. Requests to it overlap: else a read that waits would hold up every write."""

        def __init__(self, path: str, timeout_s: float) -> None:
            deadline = time.monotonic() + timeout_s
            rights, flags = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE, _winapi.FILE_FLAG_OVERLAPPED
            while True:
                try:
                    self._handle = _winapi.CreateFile(path, rights, 0, 0, _winapi.OPEN_EXISTING, flags, 0)
                    break
                except OSError as error:
                    if error.winerror != _BUSY or time.monotonic() > deadline:
                        raise
                time.sleep(_PAUSE_S)
            self._lock = threading.Lock()
            self._reading: _winapi.Overlapped | None = None
            self._is_closed = False

        def read(self) -> bytes:
            """The next bytes; empty at the end, which a message without bytes is, too."""
            try:
                with self._lock:
                    if self._is_closed:
                        return b""
                    self._reading, _ = _winapi.ReadFile(self._handle, _PIECE_BYTES, overlapped=True)
                # An error that it returns is no failure: more of a message is to come, or the read was cancelled.
                size, _ = self._reading.GetOverlappedResult(True)
            except OSError as error:
                if error.winerror == _BROKEN:
                    return b""
                raise
            found = self._reading.getbuffer()
            return bytes(found[:size]) if found else b""

        def write(self, content: bytes) -> None:
            """Write all of it, as one message."""
            with self._lock:
                if self._is_closed:
                    raise BrokenPipeError
                writing, _ = _winapi.WriteFile(self._handle, content, overlapped=True)
            writing.GetOverlappedResult(True)

        def end_input(self) -> None:
            """Say that nothing more comes: Docker takes a message without bytes for that."""
            self.write(b"")

        def close(self) -> None:
            """Close it, also under a thread that reads. Safe to repeat."""
            with self._lock:
                if self._is_closed:
                    return
                self._is_closed = True
                if self._reading:
                    self._reading.cancel()
                _winapi.CloseHandle(self._handle)


def _open(path: str, timeout_s: float) -> Duplex:
    if sys.platform == "win32":
        return _Pipe(path, timeout_s)
    raise OSError(errno.ENOTSUP, "only Windows has named pipes", path)
