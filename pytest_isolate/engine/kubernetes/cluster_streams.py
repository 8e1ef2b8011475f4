"""Answers of an API server that last: logs, and the changes of objects."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_isolate.engine.kubernetes.api_errors import ConnectionBroken, error_of_status

_PIECE_BYTES = 1 << 16
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0


class ByteStream:
    """An answer that is read as it comes; iteration ends with it, or when it is closed."""

    def __init__(
        self, what: str, server: str, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self._what = what
        self._server = server
        self._connection = connection
        self._response = response
        self._sock = connection.sock or getattr(getattr(response.fp, "raw", None), "_sock", None)
        if self._sock is not None:
            self._sock.settimeout(None)  # keepalive tells of a server that vanished
        self._reading = threading.Lock()
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._read(lambda: self._response.read1(_PIECE_BYTES)):
            yield piece

    def lines(self) -> Iterator[bytes]:
        """The same line by line. One that was cut off by a broken connection is left out."""
        while line := self._read(self._response.readline):
            if line.endswith(b"\n"):
                yield line

    def close(self) -> None:
        """End the iteration, in whichever thread it runs. Safe to repeat."""
        self._is_closed = True
        # Wakes the reader first: a descriptor that is closed under it may be that of another connection next.
        # The socket's own method, for that of a TLS socket takes its TLS away under the reader.
        if self._sock is not None:
            try:
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            except OSError:
                pass  # the server has ended it
        with self._reading:
            self._response.close()
            self._connection.close()

    def _read(self, read: Callable[[], bytes]) -> bytes:
        with self._reading:
            if self._is_closed:
                return b""
            try:
                return read()
            except (OSError, http.client.HTTPException, ValueError) as error:
                if self._is_closed:
                    return b""
                raise ConnectionBroken.of(self._what, self._server, error) from error


class Watch:
    """Changes of objects, each a mapping with `type` and `object`; iteration ends when it is closed.

    A watch whose connection ends, as each does after some minutes, is opened again behind the last change. Where the
    server has forgotten that moment, iteration raises an ApiError with status 410: list the objects, and watch anew.
    """

    def __init__(self, open_stream: Callable[[Mapping[str, str]], ByteStream], query: Mapping[str, str]) -> None:
        self._open_stream = open_stream
        self._query = {**query, "watch": "true", "allowWatchBookmarks": "true"}
        self._closed = threading.Event()
        self._stream = self._open()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        pause_s = _FIRST_PAUSE_S
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                for line in self._stream.lines():
                    event = json.loads(line)
                    self._remember(event)
                    if event["type"] != "BOOKMARK":
                        yield event
            except ConnectionBroken:
                pass  # opened again below, where a server that is gone is told
            finally:
                self._stream.close()
            lasted_s = time.monotonic() - began
            pause_s = _FIRST_PAUSE_S if lasted_s > _LONGEST_PAUSE_S else min(2 * pause_s, _LONGEST_PAUSE_S)
            if not self._closed.wait(pause_s):
                self._reopen()

    def close(self) -> None:
        """End the iteration, in whichever thread it runs. Safe to repeat."""
        self._closed.set()
        self._stream.close()

    def _open(self) -> ByteStream:
        return self._open_stream(self._query)

    def _reopen(self) -> None:
        self._stream = self._open()
        if self._closed.is_set():  # at that very moment
            self._stream.close()

    def _remember(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "ERROR":
            raise error_of_status("go on watching", event["object"])
        version = event["object"].get("metadata", {}).get("resourceVersion")
        if version:
            self._query["resourceVersion"] = version
