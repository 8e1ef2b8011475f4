"""Serving gRPC on a connection that the engine has opened: HTTP/2 by the library h2, one thread, no sockets of its own.

Format: grpc/doc/PROTOCOL-HTTP2.md. In a session the engine calls, so that this side is the server.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

OK, UNKNOWN, NOT_FOUND, UNIMPLEMENTED = 0, 2, 5, 12
_HEAD = struct.Struct(">BI")
# Beyond what is usual (64 KiB), so that what the engine sends need not wait for a word of this side.
_WINDOW_BYTES = 1 << 22

Metadata = Mapping[str, tuple[str, ...]]


class CallFailed(Exception):
    """The answer to a call is an error, with its gRPC code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Call(Protocol):
    """A call that is being served. Its methods give the messages to answer with, and may raise CallFailed."""

    is_over: bool

    def begin(self) -> Iterable[bytes]:
        """Answer before anything has come."""

    def receive(self, message: bytes) -> Iterable[bytes]:
        """Answer a message of the caller's."""

    def end(self) -> Iterable[bytes]:
        """Answer the end of the caller's messages."""


class Unary:
    """A call of one message, which is answered with one."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self.is_over = False

    def begin(self) -> Iterable[bytes]:
        return []

    def receive(self, message: bytes) -> Iterable[bytes]:
        self.is_over = True
        return [self._answer(message)]

    def end(self) -> Iterable[bytes]:
        return []


Open = Callable[[Metadata], Call]


class _Stream:
    """A call on the connection: what has come of a message, and what is still to be sent."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.received = b""
        self.waiting: list[Iterator[bytes]] = []
        self.unsent = b""
        self.has_ended = False

    def split(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that are complete."""
        self.received += data
        while len(self.received) >= _HEAD.size:
            _, size = _HEAD.unpack_from(self.received)
            if len(self.received) < _HEAD.size + size:
                return
            message = self.received[_HEAD.size : _HEAD.size + size]
            self.received = self.received[_HEAD.size + size :]
            yield message

    def fill(self) -> bool:
        """Have bytes to send; false where there are none. Messages are made only when there is room for them."""
        while not self.unsent and self.waiting:
            message = next(self.waiting[0], None)
            if message is None:
                del self.waiting[0]
            else:
                self.unsent = _HEAD.pack(0, len(message)) + message
        return bool(self.unsent)


class GrpcServer:
    """Calls on one connection. Bytes go in and come out; `methods` are by their paths."""

    def __init__(self, methods: Mapping[str, Open]) -> None:
        self._methods = methods
        self._streams: dict[int, _Stream] = {}
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW_BYTES)
        self.is_over = False

    def receive(self, data: bytes) -> bytes:
        """Return what is to be sent after bytes of the caller's have come."""
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
            for number in list(self._streams):
                self._send(number)
        except ProtocolError:
            self.is_over = True  # what is to be sent tells the reason
        return self._h2.data_to_send()

    def begin(self) -> bytes:
        """Return the first bytes to send."""
        return self._h2.data_to_send()

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(number), headers=headers):
                self._open(number, [(_text(name), _text(value)) for name, value in headers or ()])
            case DataReceived(stream_id=int(number), data=data):
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, number)
                self._take(number, data or b"")
            case StreamEnded(stream_id=int(number)) if number in self._streams:
                stream = self._streams[number]
                stream.has_ended = True
                if not stream.call.is_over:
                    self._answer(number, stream.call.end)
            case StreamReset(stream_id=int(number)):
                self._streams.pop(number, None)
            case ConnectionTerminated():
                self.is_over = True

    def _open(self, number: int, headers: list[tuple[str, str]]) -> None:
        metadata: dict[str, tuple[str, ...]] = {}
        for name, value in headers:
            metadata[name] = (*metadata.get(name, ()), value)
        path = metadata.get(":path", ("",))[0]
        head = [(":status", "200"), ("content-type", "application/grpc")]
        if path not in self._methods:
            trailers = [("grpc-status", str(UNIMPLEMENTED)), ("grpc-message", quote(f"no method {path}"))]
            self._h2.send_headers(number, [*head, *trailers], end_stream=True)
            return
        self._h2.send_headers(number, head)
        try:
            self._streams[number] = _Stream(self._methods[path](metadata))
            self._answer(number, self._streams[number].call.begin)
        except CallFailed as failed:
            self._close(number, failed.code, str(failed))

    def _take(self, number: int, data: bytes) -> None:
        stream = self._streams.get(number)
        for message in stream.split(data) if stream else ():
            if number in self._streams:
                self._answer(number, lambda m=message: stream.call.receive(m))  # type: ignore[misc, union-attr]

    def _answer(self, number: int, ask: Callable[[], Iterable[bytes]]) -> None:
        try:
            self._streams[number].waiting.append(iter(ask()))
        except CallFailed as failed:
            self._close(number, failed.code, str(failed))

    def _send(self, number: int) -> None:
        """Send as much of a call's answers as the caller has room for."""
        stream = self._streams[number]
        try:
            while stream.fill():
                room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
                if room <= 0:
                    return
                self._h2.send_data(number, stream.unsent[:room])
                stream.unsent = stream.unsent[room:]
        except CallFailed as failed:
            self._close(number, failed.code, str(failed))
            return
        if stream.call.is_over:
            self._close(number, OK, "")

    def _close(self, number: int, code: int, text: str) -> None:
        stream = self._streams.pop(number, None)
        trailers = [("grpc-status", str(code)), *([("grpc-message", quote(text))] if text else [])]
        self._h2.send_headers(number, trailers, end_stream=True)
        if stream and not stream.has_ended:
            # The caller may have more to say, which nothing would read.
            self._h2.reset_stream(number, ErrorCodes.NO_ERROR)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
