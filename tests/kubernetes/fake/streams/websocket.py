"""The server's side of WebSockets, RFC 6455."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

from kubernetes.fake.api.server import Handler
from kubernetes.fake.api.status import bad_request
from kubernetes.fake.streams.plain import plain_side

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LEAVES_WITHIN_S = 2
_CONTINUED, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


class WebSocket:
    def __init__(self, connection: socket.socket, protocol: str) -> None:
        self.protocol = protocol
        self._connection = connection
        self._pending = bytearray()
        self._lock = threading.Lock()
        self._has_left = threading.Event()

    def messages(self) -> Iterator[bytes]:
        """The messages of the client to its end; its pings are answered."""
        whole = b""
        try:
            while (frame := self._read_frame()) is not None:
                code, is_last, payload = frame
                if code == _CLOSE:
                    return
                if code == _PING:
                    self._send(_PONG, payload)
                elif code in (_CONTINUED, _TEXT, _BINARY):
                    whole += payload
                    if is_last:
                        yield whole
                        whole = b""
        finally:
            self._has_left.set()

    def _read_frame(self) -> tuple[int, bool, bytes] | None:
        head = self._read(2)
        if head is None:
            return None
        size = head[1] & 0x7F
        if size > 125:
            longer = self._read(2 if size == 126 else 8)
            if longer is None:
                return None
            size = int.from_bytes(longer, "big")
        mask = self._read(4) if head[1] & 0x80 else b""
        payload = self._read(size)
        if payload is None or mask is None:
            return None
        return head[0] & 0x0F, bool(head[0] & 0x80), _unmask(payload, mask) if mask else payload

    def _read(self, size: int) -> bytes | None:
        while len(self._pending) < size:
            try:
                data = self._connection.recv(max(1 << 18, size - len(self._pending)))
            except OSError:
                data = b""
            if not data:
                return None
            self._pending += data
        found = bytes(self._pending[:size])
        del self._pending[:size]
        return found

    def send(self, data: bytes) -> None:
        """Send a message; OSError where the client is gone."""
        self._send(_BINARY, data)

    def _send(self, code: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes([0x80 | code])
        if size < 126:
            head += bytes([size])
        elif size < 1 << 16:
            head += b"\x7e" + struct.pack(">H", size)
        else:
            head += b"\x7f" + struct.pack(">Q", size)
        with self._lock:
            self._connection.sendall(head + payload)

    def close(self) -> None:
        """Say that it is over, and let the client say so, too: what it has not read yet must not be lost."""
        try:
            self._send(_CLOSE, struct.pack(">H", 1000))
        except OSError:
            pass
        self._has_left.wait(_LEAVES_WITHIN_S)
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._connection.close()


def _unmask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def is_websocket(handler: Handler) -> bool:
    return handler.headers.get("Upgrade", "").lower() == "websocket"


def asked_protocols(handler: Handler) -> list[str]:
    values = handler.headers.get_all("Sec-WebSocket-Protocol") or []
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def accept(handler: Handler, known: Sequence[str]) -> WebSocket | None:
    """Shake hands on the first protocol that both know; where there is none, refuse as the server's library does."""
    handler.close_connection = True
    protocol = next((one for one in asked_protocols(handler) if one in known), None)
    key = handler.headers.get("Sec-WebSocket-Key", "")
    if not key or handler.headers.get("Sec-WebSocket-Version") != "13":
        raise bad_request("not a WebSocket handshake of version 13")
    if protocol is None:
        handler.request.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        return None
    digest = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    handler.request.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {digest}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
    )
    return WebSocket(plain_side(handler), protocol)
