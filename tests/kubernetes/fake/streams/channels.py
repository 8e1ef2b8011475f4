"""Standard input and output of a command, over a WebSocket or over SPDY."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from kubernetes.fake.api.server import Handler
from kubernetes.fake.api.status import bad_request
from kubernetes.fake.streams.plain import plain_side
from kubernetes.fake.streams.spdy import SpdyConnection, Stream
from kubernetes.fake.streams.websocket import WebSocket

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_NAMES = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}
_LEAVES_WITHIN_S = 10
Resize = Callable[[dict[str, int]], None]


class Channels(Protocol):
    def read(self, on_resize: Resize) -> Iterator[bytes]:
        """The input; an empty text is its end. It goes on to the end of the connection."""

    def write(self, channel: int, data: bytes) -> None:
        """Send output; OSError where the client is gone."""

    def end(self, status: dict[str, Any]) -> None:
        """Say how it ended, and close."""


class WebSocketChannels:
    """Each message begins with the number of its channel. Only v5 can say that the input has ended."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    def read(self, on_resize: Resize) -> Iterator[bytes]:
        has_input = True
        for message in self._websocket.messages():
            if not message:
                continue
            if message[0] == STDIN and len(message) > 1 and has_input:
                yield message[1:]
            elif message[0] == RESIZE:
                on_resize(json.loads(message[1:]))
            elif message[0] == CLOSE and message[1:] == b"\0" and self._websocket.protocol.startswith("v5"):
                has_input = False
                yield b""

    def write(self, channel: int, data: bytes) -> None:
        self._websocket.send(bytes([channel]) + data)

    def end(self, status: dict[str, Any]) -> None:
        try:
            self.write(ERROR, json.dumps(status).encode())
        except OSError:
            pass
        self._websocket.close()


class SpdyChannels:
    """A stream for each channel, as kubectl opens them on older servers."""

    def __init__(self, handler: Handler, wanted: int) -> None:
        switch_to_spdy(handler, ("v4.channel.k8s.io",))
        self._socket = plain_side(handler)
        self._connection = SpdyConnection(iter(lambda: self._socket.recv(1 << 16), b""), self._socket.sendall)
        self._streams: dict[int, Stream] = {}
        self._opened: queue.Queue[Stream] = queue.Queue()
        self._is_over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        while len(self._streams) < wanted:
            stream = self._opened.get(timeout=30)
            self._streams[_NAMES[stream.headers["streamtype"]]] = stream

    def _run(self) -> None:
        try:
            self._connection.run(self._opened.put)
        except OSError:
            pass
        self._is_over.set()

    def read(self, on_resize: Resize) -> Iterator[bytes]:
        if RESIZE in self._streams:
            threading.Thread(target=self._read_sizes, args=(on_resize,), daemon=True).start()
        if STDIN in self._streams:
            yield from self._streams[STDIN].chunks()
            yield b""
        self._is_over.wait()

    def _read_sizes(self, on_resize: Resize) -> None:
        for data in self._streams[RESIZE].chunks():
            on_resize(json.loads(data))

    def write(self, channel: int, data: bytes) -> None:
        self._streams[channel].send(data)

    def end(self, status: dict[str, Any]) -> None:
        try:
            self._streams[ERROR].send(json.dumps(status).encode())
            for number, stream in self._streams.items():
                if number != STDIN:
                    stream.finish()
        except OSError:
            pass
        # The client closes when it has read all.
        self._is_over.wait(_LEAVES_WITHIN_S)
        self._socket.close()


def switch_to_spdy(handler: Handler, known: tuple[str, ...]) -> None:
    """Answer a request to change to SPDY."""
    asked = [
        part.strip()
        for value in handler.headers.get_all("X-Stream-Protocol-Version") or []
        for part in value.split(",")
    ]
    protocol = next((one for one in asked if one in known), None)
    if handler.headers.get("Upgrade", "").upper() != "SPDY/3.1":
        raise bad_request("Upgrade request required")
    if protocol is None:
        raise bad_request(
            f"unable to upgrade: unable to negotiate protocol: client supports {asked}, server accepts {list(known)}"
        )
    handler.close_connection = True
    handler.request.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {protocol}\r\n\r\n".encode()
    )
