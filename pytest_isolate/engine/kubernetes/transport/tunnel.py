"""Channels to the ports of a pod: streams of SPDY in one WebSocket, or a WebSocket for each connection."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from pytest_isolate.engine.kubernetes.transport.carried import Carried, Channel
from pytest_isolate.engine.kubernetes.transport.spdy import GoneAway, Pinged, Received, Replied, SpdyClient, WasReset
from pytest_isolate.engine.kubernetes.transport.websocket import WebSocket
from pytest_isolate.errors import EngineError, EngineUnreachable

_PIECE_BYTES = 1 << 15
_REFUSED = b"refused"  # by the pod's own kernel: no program listens at the port
# A tunnel that is paused for so long is left to the streams that it has.
_STALLED_S = 1.0
# Without half-close, a client that has ended its side gets answers as long as they come.
_ANSWERS_WITHIN_S = 2.0


class SpdyChannel(Struct, kw_only=True, eq=False):
    """A stream of a tunnel, and the client's side of it."""

    tunnel: Tunnel
    stream: int
    carried: Carried
    is_asked: bool = False
    is_answered: bool = False

    def send(self, content: bytes) -> None:
        self.tunnel.send(self.stream, content)

    def end(self) -> None:
        self.is_asked = True
        self.tunnel.end(self)

    def reset(self) -> None:
        self.tunnel.reset(self.stream)

    def pause_reading(self) -> None:
        self.tunnel.hold(self.stream, True)

    def resume_reading(self) -> None:
        self.tunnel.hold(self.stream, False)


class Tunnel:
    """Streams of SPDY in one WebSocket to one pod. All methods are called in the loop."""

    def __init__(self, line: WebSocket) -> None:
        self.line = line
        self._spdy = SpdyClient()
        self._opening: dict[int, tuple[asyncio.Future[SpdyChannel], Carried]] = {}
        self._channels: dict[int, SpdyChannel] = {}
        self._errors: dict[int, int] = {}  # streams of errors, and those of data that they belong to
        self._held: set[int] = set()  # streams whose reader does not keep up
        self._stalled_at: float | None = None
        self._number = 0
        self.is_over = False
        line.begin(self)

    @property
    def is_usable(self) -> bool:
        """False where a new stream would not get through."""
        stalled = self._stalled_at is not None and self.line.loop.time() - self._stalled_at > _STALLED_S
        return not self.is_over and not self.line.is_ended and not stalled

    async def open_channel(self, port: int, carried: Carried) -> Channel:
        """A new stream to a port of the pod."""
        about = {"port": str(port), "requestID": str(self._number)}
        self._number += 1
        error, frame = self._spdy.open_stream({"streamType": "error", **about})
        data, second = self._spdy.open_stream({"streamType": "data", **about})
        ready: asyncio.Future[SpdyChannel] = self.line.loop.create_future()
        self._errors[error] = data
        self._opening[data] = (ready, carried)
        self.line.send(frame, second)
        try:
            return await ready
        except asyncio.CancelledError:
            self.reset(data)
            raise

    def send(self, stream: int, content: bytes) -> None:
        for frame in self._spdy.data(stream, content):
            self.line.send(frame)

    def end(self, channel: SpdyChannel) -> None:
        self.line.send(self._spdy.end(channel.stream))
        self._forget_if_done(channel)

    def reset(self, stream: int) -> None:
        """Forget a stream; what still comes of it is left unread."""
        opening = self._opening.pop(stream, None)
        channel = self._channels.pop(stream, None)
        if opening or channel:
            self.line.send(self._spdy.reset(stream))
        self.hold(stream, False)

    def hold(self, stream: int, is_held: bool) -> None:
        """Read no more as long as a reader does not keep up: the kernel's buffers end somewhere, too."""
        was_held = bool(self._held)
        (self._held.add if is_held else self._held.discard)(stream)
        if was_held == bool(self._held) or self.line.is_ended:
            return
        self._stalled_at = self.line.loop.time() if self._held else None
        (self.line.pause_reading if self._held else self.line.resume_reading)()

    @property
    def is_idle(self) -> bool:
        """True where it carries no stream."""
        return not self._opening and not self._channels

    def close(self) -> None:
        """End it, and its streams. Safe to repeat."""
        self.line.close()
        self.ended(None)

    # -- the line's side -----------------------------------------------------------------------------------------------

    def received(self, content: bytes) -> None:
        for event in self._spdy.feed(content):
            match event:
                case Received(stream, piece, is_last):
                    self._take(stream, piece, is_last)
                case Replied(stream):
                    self._begin(stream)
                case WasReset(stream):
                    self._break(stream, None)
                case Pinged(answer):
                    self.line.send(answer)
                case GoneAway():
                    self.is_over = True

    def ended(self, error: Exception | None) -> None:
        self.is_over = True
        reason = EngineUnreachable("the tunnel to the pod broke", found=str(error or "the server ended it"))
        for stream in [*self._opening, *self._channels]:
            self._break(stream, reason)

    def pause_writing(self) -> None:
        self._stalled_at = self.line.loop.time()
        for channel in self._channels.values():
            channel.carried.hold()

    def resume_writing(self) -> None:
        self._stalled_at = None
        for channel in list(self._channels.values()):
            channel.carried.go_on()

    def _begin(self, stream: int) -> None:
        if stream in self._errors:
            self.line.send(self._spdy.end(stream))  # nothing is ever said there from here
        elif stream in self._opening:
            ready, carried = self._opening.pop(stream)
            channel = self._channels[stream] = SpdyChannel(tunnel=self, stream=stream, carried=carried)
            if not ready.done():
                ready.set_result(channel)

    def _take(self, stream: int, content: bytes, is_last: bool) -> None:
        if stream in self._errors:
            if content:
                # Of a pod that is gone, the tunnel lives on, and every stream fails: to dial anew tells.
                self.is_over = self.is_over or _REFUSED not in content
                self.line.send(self._spdy.reset(self._errors[stream]))
                self._break(self._errors[stream], refused_error(content))
            if is_last:
                del self._errors[stream]
            return
        channel = self._channels.get(stream)
        if channel:
            if content:
                channel.carried.received(content)
            if is_last:
                channel.is_answered = True
                channel.carried.answered()
                self._forget_if_done(channel)

    def _break(self, stream: int, error: Exception | None) -> None:
        ready, _ = self._opening.pop(stream, (None, None))
        if ready and not ready.done():
            ready.set_exception(error or ConnectionResetError(None, "the pod ended the connection"))
        channel = self._channels.pop(stream, None)
        if channel:
            self.hold(stream, False)
            channel.carried.broken(error)

    def _forget_if_done(self, channel: SpdyChannel) -> None:
        if channel.is_answered and channel.is_asked:
            self._channels.pop(channel.stream, None)


class OldLine:
    """One connection in a WebSocket of its own (`v4.channel.k8s.io`): its channels are 0 for bytes, 1 for an error."""

    def __init__(self, line: WebSocket, carried: Carried) -> None:
        self._line = line
        self._carried = carried
        self._named: set[int] = set()  # channels whose first message, the port's number, has come
        self._heard = False
        line.begin(self)

    # -- as a channel --------------------------------------------------------------------------------------------------

    def send(self, content: bytes) -> None:
        view = memoryview(content)
        for start in range(0, len(view), _PIECE_BYTES):
            self._line.send(b"\0", view[start : start + _PIECE_BYTES])

    def end(self) -> None:
        """The pod cannot be told; so the line ends when no more answers come."""
        self._heard = False
        self._line.loop.call_later(_ANSWERS_WITHIN_S, self._end_if_silent)

    def reset(self) -> None:
        self._line.close()

    def pause_reading(self) -> None:
        self._line.pause_reading()

    def resume_reading(self) -> None:
        self._line.resume_reading()

    # -- as the user of a line -----------------------------------------------------------------------------------------

    def received(self, content: bytes) -> None:
        self._heard = True
        number = content[0] if content else 0
        if number not in self._named:
            self._named.add(number)
        elif number == 0:
            self._carried.received(content[1:])
        elif len(content) > 1:
            self._carried.broken(refused_error(content[1:]))
            self._line.close()

    def ended(self, error: Exception | None) -> None:
        if error:
            self._carried.broken(error)
        else:
            self._carried.answered()

    def pause_writing(self) -> None:
        self._carried.hold()

    def resume_writing(self) -> None:
        self._carried.go_on()

    def _end_if_silent(self) -> None:
        if self._heard:
            self.end()
        else:
            self._line.close()


def refused_error(content: bytes) -> EngineError:
    """The error of a port that does not answer, in the words of the pod's node."""
    return EngineError("the port of the pod does not answer", found=content.decode(errors="replace").strip())
