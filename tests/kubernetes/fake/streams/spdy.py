"""SPDY/3.1 as kubectl and the server speak it: frames, and streams on any carrier of bytes.

As in the server's own library there is no flow control: WINDOW_UPDATE is read and has no effect.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _HEADERS = 1, 2, 3, 6, 8
_FIN = 1
_MOST = 1 << 16
_UNREAD = 64
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200~OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-"
    "8859-1,utf-,*,enq=0."
)


def _build_dictionary() -> bytes:
    words = (word.replace("~", " ").encode() for word in _WORDS.split())
    return b"".join(struct.pack(">L", len(word)) + word for word in words) + _TAIL.encode()


DICTIONARY = _build_dictionary()
Headers = Mapping[str, str]


class Stream:
    """A stream that the client opened."""

    def __init__(self, connection: SpdyConnection, number: int, headers: Headers) -> None:
        self.headers = headers
        self.number = number
        self._connection = connection
        self._received: deque[bytes] = deque()
        self._changed = threading.Condition()
        self.is_reset = False

    def put(self, data: bytes) -> None:
        """Add what the client sent; an empty text is its end. Wait where much is unread."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_reset or len(self._received) < _UNREAD)
            self._received.append(data)
            self._changed.notify_all()

    def chunks(self) -> Iterator[bytes]:
        """The bytes that the client sends, to the end of its direction."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._received or self.is_reset)
                data = self._received.popleft() if self._received else b""
                self._changed.notify_all()
            if not data:
                return
            yield data

    def drop(self) -> None:
        """End it for the thread that reads it: nothing more is to come."""
        with self._changed:
            self.is_reset = True
            self._changed.notify_all()

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), _MOST):
            self._connection.send_data(self.number, data[start : start + _MOST], is_last=False)

    def finish(self) -> None:
        """End our direction."""
        self._connection.send_data(self.number, b"", is_last=True)


class SpdyConnection:
    """The server's side: `receive` yields bytes of the carrier to its end, `write` sends some."""

    def __init__(self, receive: Iterator[bytes], write: Callable[[bytes], None]) -> None:
        self._receive = receive
        self._write = write
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._inflater = zlib.decompressobj(zdict=DICTIONARY)
        self._deflater = zlib.compressobj(zdict=DICTIONARY)
        self._pending = bytearray()

    def run(self, on_stream: Callable[[Stream], None]) -> None:
        """Read frames to the end of the carrier; each new stream is answered and handed out."""
        try:
            while (head := self._read(8)) is not None:
                size = int.from_bytes(head[5:], "big")
                body = self._read(size)
                if body is None:
                    break
                first = int.from_bytes(head[:4], "big")
                if first & 0x80000000:
                    self._take_control(first & 0xFFFF, head[4], body, on_stream)
                elif stream := self._streams.get(first):
                    if body:
                        stream.put(body)
                    if head[4] & _FIN:
                        stream.put(b"")
        finally:
            for stream in list(self._streams.values()):
                stream.drop()

    def _read(self, size: int) -> bytes | None:
        while len(self._pending) < size:
            data = next(self._receive, b"")
            if not data:
                return None
            self._pending += data
        found = bytes(self._pending[:size])
        del self._pending[:size]
        return found

    def _take_control(self, kind: int, flags: int, body: bytes, on_stream: Callable[[Stream], None]) -> None:
        if kind == _SYN_STREAM:
            number = int.from_bytes(body[:4], "big")
            stream = Stream(self, number, self._parse_headers(body[10:]))
            self._streams[number] = stream
            self.send_control(_SYN_REPLY, 0, struct.pack(">L", number), headers={})
            if flags & _FIN:
                stream.put(b"")
            on_stream(stream)
        elif kind == _HEADERS:
            self._parse_headers(body[4:])
        elif kind == _RST_STREAM:
            number = int.from_bytes(body[:4], "big")
            if number in self._streams:
                self._streams.pop(number).drop()
        elif kind == _PING:
            self.send_control(_PING, 0, body)

    def _parse_headers(self, packed: bytes) -> Headers:
        plain = self._inflater.decompress(packed)
        count = int.from_bytes(plain[:4], "big")
        at, words = 4, []
        for _ in range(count * 2):
            size = int.from_bytes(plain[at : at + 4], "big")
            words.append(plain[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return dict(zip(words[::2], words[1::2], strict=True))

    def send_control(self, kind: int, flags: int, body: bytes, headers: Headers | None = None) -> None:
        with self._lock:
            if headers is not None:
                plain = struct.pack(">L", len(headers))
                for pair in headers.items():
                    for word in pair:
                        plain += struct.pack(">L", len(word)) + word.encode()
                body += self._deflater.compress(plain) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
            self._write(struct.pack(">HHL", 0x8003, kind, flags << 24 | len(body)) + body)

    def send_data(self, number: int, data: bytes, *, is_last: bool) -> None:
        with self._lock:
            self._write(struct.pack(">LL", number, (_FIN if is_last else 0) << 24 | len(data)) + data)

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
