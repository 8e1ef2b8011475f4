"""WebSockets (RFC 6455), the client's part of it, in an asyncio loop.

In a loop, for there bytes that TLS holds back are never forgotten, pings go both ways while a line is idle, and a
thousand lines take one thread.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol, cast

from pytest_isolate.engine.kubernetes.transport.frames_of_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    FrameReader,
    build_frame,
)

# Load balancers cut lines that are idle for 20 s, some sooner.
_PING_EVERY_S = 10
# A network that is lost for half a minute is forgiven.
_SILENT_S = 60
_CLOSES_WITHIN_S = 2
_WRITE_BUFFER_BYTES = 1 << 20


class Receiver(Protocol):
    """The user of a WebSocket; its methods are called in the loop."""

    def received(self, content: bytes) -> None:
        """Take a message."""

    def ended(self, error: Exception | None) -> None:
        """Take note that no more comes; of the error where the line broke."""

    def pause_writing(self) -> None:
        """Write no more for now: the line does not take it as fast."""

    def resume_writing(self) -> None:
        """Go on."""


class WebSocket(asyncio.Protocol):
    """A line of messages. All of its methods are called in the loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.news = asyncio.Event()
        self.head = bytearray()  # bytes that came before it is a WebSocket
        self._receiver: Receiver | None = None
        self._waiting: list[bytes] = []  # for the receiver
        self._reader = FrameReader()
        self._parts: list[bytes] = []
        self._heard_at = self.loop.time()
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False
        self._error: Exception | None = None
        self.is_ended = False

    # -- its user's side -----------------------------------------------------------------------------------------------

    def begin(self, receiver: Receiver) -> None:
        """Give all that comes to a receiver, from the first message on."""
        self._receiver = receiver
        for message in self._waiting:
            receiver.received(message)
        self._waiting.clear()
        if self.is_ended:
            receiver.ended(self._error)

    def send(self, *pieces: bytes | memoryview) -> None:
        """Send a message, made of these pieces."""
        if not self.is_ended:
            self.transport.writelines([build_frame(BINARY, sum(map(len, pieces))), *pieces])

    async def drain(self) -> None:
        """Wait until the line takes more; ConnectionResetError where it has ended."""
        await self._can_write.wait()
        if self.is_ended:
            raise ConnectionResetError(None, "the connection has ended")

    def pause_reading(self) -> None:
        """Let the other side wait. Pings are not answered then, but such a line is not idle."""
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        self._heard_at = self.loop.time()
        self.transport.resume_reading()

    def close(self) -> None:
        """End the line. Safe to repeat."""
        if not self.is_ended and not self.transport.is_closing():
            if self._is_open:
                self.transport.write(build_frame(CLOSE, 2) + struct.pack(">H", 1000))
            self.transport.close()
            # Bytes that are never taken would keep it open.
            self.loop.call_later(_CLOSES_WITHIN_S, self.transport.abort)

    def abort(self) -> None:
        """End the line at once."""
        self.transport.abort()

    # -- asyncio's side ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        if not self._is_open:
            self.head += data
            self.news.set()
            return
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except ValueError as error:
            self._error = error
            self.transport.abort()

    def eof_received(self) -> None:
        if self._is_open and not self.is_ended:
            self._error = self._error or ConnectionResetError(None, "the server ended the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_ended:
            return
        self.is_ended = True
        self._error = self._error or exc
        self._can_write.set()
        if self._timer:
            self._timer.cancel()
        self.news.set()
        if self._receiver:
            self._receiver.ended(self._error)

    def pause_writing(self) -> None:
        self._can_write.clear()
        if self._receiver:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._can_write.set()
        if self._receiver:
            self._receiver.resume_writing()

    # -- frames --------------------------------------------------------------------------------------------------------

    def upgraded(self, rest: bytes) -> None:
        """Speak WebSocket from here on; the rest came behind the answer's head."""
        self._is_open = True
        self._timer = self.loop.call_later(_PING_EVERY_S, self._ping)
        if rest:
            self.data_received(rest)

    def _take(self, frame: Frame) -> None:
        if frame.opcode == PING:
            self.transport.writelines([build_frame(PONG, len(frame.content)), frame.content])
        elif frame.opcode == CLOSE:
            self._take_end(frame.content)
        elif frame.opcode in (BINARY, TEXT, CONTINUATION):
            if frame.is_final and not self._parts:
                self._deliver(frame.content)
                return
            self._parts.append(frame.content)
            if frame.is_final:
                message = b"".join(self._parts)
                self._parts.clear()
                self._deliver(message)

    def _deliver(self, message: bytes) -> None:
        if self.is_ended:
            return
        if self._receiver:
            self._receiver.received(message)
        else:
            self._waiting.append(message)

    def _take_end(self, content: bytes) -> None:
        code = int.from_bytes(content[:2], "big")
        if code not in (0, 1000, 1001):
            text = content[2:].decode(errors="replace")
            self._error = self._error or ConnectionResetError(None, f"the server ended the line: {code} {text}".strip())
        self.close()
        self.connection_lost(None)

    def _ping(self) -> None:
        if self.is_ended:
            return
        if self.transport.is_reading() and self.loop.time() - self._heard_at > _SILENT_S:
            self._error = TimeoutError(None, f"nothing came for {_SILENT_S} s")
            self.transport.abort()
            return
        self.transport.write(build_frame(PING, 0))
        self._timer = self.loop.call_later(_PING_EVERY_S, self._ping)
