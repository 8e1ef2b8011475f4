"""The plain side of a connection that is encrypted: a socket that threads may read and write at once."""

from __future__ import annotations

import select
import socket
import ssl
import threading

from kubernetes.fake.api.server import Handler

_MOST = 1 << 18


def plain_side(handler: Handler) -> socket.socket:
    """Return a socket that carries what the connection does. One thread alone may use a TLS connection."""
    if not isinstance(handler.request, ssl.SSLSocket):
        return handler.request.dup()
    outer, inner = socket.socketpair()
    handler.pump = threading.Thread(target=_pump, args=(handler.request, inner), daemon=True)
    handler.pump.start()
    return outer


def _pump(tls: ssl.SSLSocket, inner: socket.socket) -> None:
    tls.setblocking(False)
    inner.setblocking(False)
    to_inner, to_tls = b"", b""
    poll = select.poll()
    poll.register(tls)
    poll.register(inner)
    try:
        while True:
            poll.modify(tls, (0 if to_inner else select.POLLIN) | (select.POLLOUT if to_tls else 0))
            poll.modify(inner, (0 if to_tls else select.POLLIN) | (select.POLLOUT if to_inner else 0))
            # Bytes that were decrypted already are not announced by the kernel.
            poll.poll(0 if tls.pending() and not to_inner else None)
            if not to_inner:
                data = _read(tls)
                if data == b"":
                    return
                to_inner = data or b""
            if to_inner:
                to_inner = to_inner[_write(inner, to_inner) :]
            if not to_tls:
                data = _read(inner)
                if data == b"":
                    return
                to_tls = data or b""
            if to_tls:
                to_tls = to_tls[_write(tls, to_tls) :]
    except OSError:
        return
    finally:
        inner.close()
        try:
            tls.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def _read(source: socket.socket) -> bytes | None:
    """The bytes that are there now; None for none yet, an empty text at the end."""
    try:
        data = source.recv(_MOST)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
        return None
    except ssl.SSLError:
        return b""
    while isinstance(source, ssl.SSLSocket) and source.pending() and len(data) < _MOST:
        data += source.recv(source.pending())
    return data


def _write(sink: socket.socket, data: bytes) -> int:
    try:
        return sink.send(data)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
        return 0
