"""Frames of WebSockets (RFC 6455, section 5), as a client reads and writes them. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec import Struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
# Of zeros. A key that cannot be guessed keeps scripts of a web page from writing what a proxy takes for a request; here
# no page writes, and to mask takes more time than all else.
_MASK_KEY = bytes(4)
_MOST_MESSAGE_BYTES = 1 << 26


class Frame(Struct, frozen=True):
    """A frame of a WebSocket."""

    opcode: int
    is_final: bool
    content: bytes


class FrameReader:
    """Frames out of bytes, wherever these were cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> Iterator[Frame]:
        """The frames that are complete now; ValueError for what is no frame of a server."""
        self._buffer += received
        start = 0
        try:
            while (found := self._find(start)) is not None:
                head_end, end = found
                first = self._buffer[start]
                content = bytes(memoryview(self._buffer)[head_end:end])
                start = end
                yield Frame(first & 0x0F, bool(first & 0x80), content)
        finally:
            del self._buffer[:start]

    def _find(self, start: int) -> tuple[int, int] | None:
        """Begin and end of the content of the frame there; None where it is not complete."""
        have = len(self._buffer) - start
        if have < 2:
            return None
        first, second = self._buffer[start], self._buffer[start + 1]
        if first & 0x70 or second & 0x80:
            raise ValueError("a frame with bits that were not agreed on")
        size, head_end = second, start + 2
        for marker, layout in ((126, ">H"), (127, ">Q")):
            if second == marker:
                head_end += struct.calcsize(layout)
                if len(self._buffer) < head_end:
                    return None
                size = struct.unpack_from(layout, self._buffer, start + 2)[0]
        if size > _MOST_MESSAGE_BYTES:
            raise ValueError(f"a frame of {size} bytes")
        return (head_end, head_end + size) if len(self._buffer) >= head_end + size else None


def build_frame(opcode: int, size: int) -> bytes:
    """The head of a frame with so many bytes, as clients send it: with a mask."""
    first = 0x80 | opcode
    if size < 126:
        return bytes([first, 0x80 | size]) + _MASK_KEY
    if size < 1 << 16:
        return struct.pack(">BBH", first, 0x80 | 126, size) + _MASK_KEY
    return struct.pack(">BBQ", first, 0x80 | 127, size) + _MASK_KEY
