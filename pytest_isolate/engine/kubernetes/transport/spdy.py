"""SPDY/3.1, the client's part of it, as far as port-forward uses it: frames in and out, no sockets. Pure.

The specification is that of The Chromium Projects, "SPDY Protocol - Draft 3.1". Servers (moby/spdystream) know no flow
control: they send as they can, whatever the windows say, so windows are neither kept nor opened here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

from msgspec import Struct

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_CONTROL = 0x8003_0000  # the bit of control frames, and version 3
_FIN = 1
_CANCEL = 5
_HEAD_BYTES = 8
_ID = 0x7FFF_FFFF
# Frames of 16 MiB are allowed; servers send up to 32 KiB.
MOST_PAYLOAD_BYTES = 1 << 16
_STREAM_FORMAT = struct.Struct(">IIBB")

# Headers are packed with a dictionary that both sides know: words behind their lengths, then text.
_WORDS = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length content-location
content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match
if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range
referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get
status 200#OK version HTTP/1.1 url public set-cookie keep-alive origin
"""
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset="
    "iso-8859-1,utf-,*,enq=0."
)


def build_dictionary() -> bytes:
    """The dictionary of packed headers (section 2.6.10.1 of the specification)."""
    words = [word.replace("#", " ").encode() for word in _WORDS.split()]
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _TEXT.encode()


class Replied(Struct, frozen=True):
    """The other side takes part in a stream; nothing may be sent there before."""

    stream: int


class Received(Struct, frozen=True):
    """Bytes of a stream, and whether they are its last."""

    stream: int
    content: bytes
    is_last: bool


class WasReset(Struct, frozen=True):
    """A stream has ended at once, in both directions."""

    stream: int


class Pinged(Struct, frozen=True):
    """A ping of the other side, with the frame that answers it."""

    answer: bytes


class GoneAway(Struct, frozen=True):
    """The other side takes no more streams on this connection."""


SpdyEvent = Replied | Received | WasReset | Pinged | GoneAway


class SpdyClient:
    """One connection as the client sees it: methods return frames to send, `feed` tells of those that came."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(zdict=build_dictionary())
        self._next_stream = 1
        self._buffer = bytearray()

    def open_stream(self, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The number of a new stream, and its first frame. Such frames have to be sent in the order of the numbers."""
        stream = self._next_stream
        self._next_stream += 2
        packed = self._packer.compress(_build_headers(headers)) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        return stream, _control(_SYN_STREAM, _STREAM_FORMAT.pack(stream, 0, 0, 0) + packed)

    def data(self, stream: int, content: bytes | memoryview) -> Iterator[bytes]:
        """Frames with bytes of a stream."""
        for start in range(0, len(content), MOST_PAYLOAD_BYTES):
            piece = content[start : start + MOST_PAYLOAD_BYTES]
            yield struct.pack(">II", stream, len(piece)) + piece

    def end(self, stream: int) -> bytes:
        """The frame behind the last bytes of a stream; the other direction goes on."""
        return struct.pack(">II", stream, _FIN << 24)

    def reset(self, stream: int) -> bytes:
        """The frame that ends a stream at once."""
        return _control(_RST_STREAM, struct.pack(">II", stream, _CANCEL))

    def feed(self, received: bytes) -> Iterator[SpdyEvent]:
        """The events in bytes that came, wherever they were cut."""
        self._buffer += received
        start = 0
        try:
            while len(self._buffer) - start >= _HEAD_BYTES:
                first, second = struct.unpack_from(">II", self._buffer, start)
                end = start + _HEAD_BYTES + (second & 0xFF_FFFF)
                if len(self._buffer) < end:
                    break
                payload = bytes(memoryview(self._buffer)[start + _HEAD_BYTES : end])
                start = end
                yield from _read_frame(first, second >> 24, payload)
        finally:
            del self._buffer[:start]


def _read_frame(first: int, flags: int, payload: bytes) -> Iterator[SpdyEvent]:
    is_last = bool(flags & _FIN)
    if not first >> 31:
        yield Received(first, payload, is_last)
        return
    kind = first & 0xFFFF
    number = int.from_bytes(payload[:4], "big") & _ID
    if kind == _RST_STREAM:
        yield WasReset(number)
    elif kind == _PING:
        if number % 2 == 0:  # odd ones are answers to pings of ours
            yield Pinged(_control(_PING, payload[:4]))
    elif kind == _GOAWAY:
        yield GoneAway()
    elif kind in (_SYN_REPLY, _HEADERS):
        if kind == _SYN_REPLY:
            yield Replied(number)
        if is_last:
            yield Received(number, b"", is_last=True)


def _build_headers(headers: Mapping[str, str]) -> bytes:
    texts = [text.encode() for name, value in headers.items() for text in (name.lower(), value)]
    return struct.pack(">I", len(headers)) + b"".join(struct.pack(">I", len(text)) + text for text in texts)


def _control(kind: int, payload: bytes) -> bytes:
    return struct.pack(">II", _CONTROL | kind, len(payload)) + payload
