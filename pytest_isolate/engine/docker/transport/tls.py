"""TLS for lines that carry bytes both ways, where one side may end before the other.

A socket of the ssl module cannot: ended for sending, it gives no more of what comes. So the bytes go through memory.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading

_PIECE_BYTES = 1 << 16


class HalfOpen:
    """TLS over a connected socket, as far as a line uses one. Safe to send and to receive in two threads."""

    def __init__(self, sock: socket.socket, trust: ssl.SSLContext, host: str) -> None:
        self._sock = sock
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._coming, self._going, server_hostname=host)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._shake_hands()

    def sendall(self, content: bytes) -> None:
        """Write all of it."""
        with self._lock:
            self._tls.write(content)
        self._flush()

    def recv(self, most: int) -> bytes:
        """All bytes that have come, or the next: select() tells of nothing that was left here. Empty at the end."""
        while True:
            received = self._read(most)
            if received is not None:
                return received
            self._flush()
            self._feed()

    def shutdown(self, how: int) -> None:
        """End the sending half, in TLS's own words, or all of it."""
        if how == socket.SHUT_WR:
            try:
                with self._lock:
                    self._tls.unwrap()
            except ssl.SSLError:
                pass  # said; the answer to it comes behind all that is still to be read
            self._flush()
        else:
            self._sock.shutdown(how)

    def settimeout(self, timeout_s: float | None) -> None:
        """Limit each wait."""
        self._sock.settimeout(timeout_s)

    def fileno(self) -> int:
        """For whoever waits for several things at once."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
            else:
                self._flush()
                return

    def _read(self, most: int) -> bytes | None:
        """Bytes that can be read at once; None where there are none yet."""
        received = b""
        with self._lock:
            while len(received) < most:
                try:
                    piece = self._tls.read(most - len(received))
                except ssl.SSLWantReadError:
                    return received or None
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return received
                if not piece:
                    return received
                received += piece
        return received

    def _feed(self) -> None:
        piece = self._sock.recv(_PIECE_BYTES)
        with self._lock:
            if piece:
                self._coming.write(piece)
            else:
                self._coming.write_eof()

    def _flush(self) -> None:
        if not self._going.pending:
            return
        with self._sending:
            self._sock.sendall(self._going.read())


class HalfOpenConnection(http.client.HTTPConnection):
    """HTTP over such a line."""

    def __init__(self, host: str, port: int, timeout_s: float, trust: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._trust = trust

    def connect(self) -> None:
        """Connect, and agree on keys."""
        super().connect()
        try:
            self.sock = HalfOpen(self.sock, self._trust, self.host)
        except BaseException:
            self.sock.close()
            raise
