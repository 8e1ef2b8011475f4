"""The client's side of a connection to a pod: a socket of this host, and the channel that carries it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from pytest_isolate.errors import EngineError

# One reader that does not read must not stop the other streams of its tunnel: so much is kept for it first.
_MOST_WAITING_BYTES = 1 << 24


class Channel(Protocol):
    """The pod's side of a connection."""

    def send(self, content: bytes) -> None: ...
    def end(self) -> None: ...  # what is sent; the other direction goes on
    def reset(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Carried(asyncio.Protocol):
    """The client's side of a connection: a socket of this host, which a channel carries to a port of a pod."""

    def __init__(
        self,
        open_channel: Callable[[Carried], Awaitable[Channel]],
        tell: Callable[[Exception], None] = lambda error: None,  # noqa: ARG005  # of why it broke
    ) -> None:
        self._open_channel = open_channel
        self._tell = tell
        self._channel: Channel | None = None
        self.opening: asyncio.Task[None] | None = None
        self._is_answered = False  # the pod has sent its last
        self._is_asked = False  # the client has
        self.is_gone = False
        self.error: Exception | None = None

    # -- the client's side ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_MOST_WAITING_BYTES)
        loop = asyncio.get_running_loop()
        # Not here: Python 3.10 begins to read behind this method, whatever it says.
        loop.call_soon(self.transport.pause_reading)
        self.opening = loop.create_task(self._begin())

    def data_received(self, data: bytes) -> None:
        if self._channel:
            self._channel.send(data)

    def eof_received(self) -> bool:
        self._is_asked = True
        if self._channel:
            self._channel.end()
        if self._is_answered:
            self.transport.close()
        return True  # the other direction goes on

    def connection_lost(self, _exc: Exception | None) -> None:
        self.is_gone = True
        if self.opening:
            self.opening.cancel()
        if self._channel:
            self._channel.reset()

    def pause_writing(self) -> None:
        if self._channel:
            self._channel.pause_reading()

    def resume_writing(self) -> None:
        if self._channel:
            self._channel.resume_reading()

    # -- the pod's side ------------------------------------------------------------------------------------------------

    def received(self, content: bytes) -> None:
        """Take bytes that the pod has sent."""
        if not self.is_gone:
            self.transport.write(content)

    def answered(self) -> None:
        """Take note that the pod sends no more."""
        if self._is_answered or self.is_gone:
            return
        self._is_answered = True
        if self._is_asked:
            self.transport.close()
        else:
            try:
                self.transport.write_eof()
            except OSError:
                self.broken(None)

    def broken(self, error: Exception | None) -> None:
        """End it as a program that dies does: the client's next read fails, and does not look like an end."""
        if error and not self.error:
            self.error = error
            self._tell(error)
        if self.is_gone:
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def hold(self) -> None:
        """Read no more of the client for now."""
        if not self.is_gone and self._channel and not self._is_asked:
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if not self.is_gone and self._channel and not self._is_asked:
            self.transport.resume_reading()

    async def _begin(self) -> None:
        try:
            channel = await self._open_channel(self)
        except (EngineError, OSError) as error:
            self.broken(error)
            return
        if self.is_gone:
            channel.reset()
            return
        self._channel = channel
        self.go_on()
