"""Connections to the engine at an address: a socket of this host, TCP, TLS, or ssh.

Connections that are dear to make wait for their next request: one over TLS takes several turns between the hosts, and
one over ssh a process and a log-in. A local one costs about 0.2 ms, so each request has its own.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import sys
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from pytest_isolate.engine.docker.transport.carrier import end

if TYPE_CHECKING:
    import ssl

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
_TCP_PORT, _TLS_PORT = 2375, 2376
# What lies between may forget a connection that is not used: firewalls do after minutes.
_IDLE_S = 30.0
# More at once are rare, and an engine need not keep them.
_MAX_IDLE = 8


class Endpoint(Struct, frozen=True, dict=True):
    """An address, the folder of the certificates to show and to trust, and whether the engine's own is checked."""

    address: str
    certificates: str = ""
    is_verified: bool = True

    def as_text(self) -> str:
        """All of it in one text, for another process."""
        return json.dumps([self.address, self.certificates, self.is_verified])

    @classmethod
    def from_text(cls, text: str) -> Endpoint:
        """The endpoint that `as_text` has written down."""
        return cls(*json.loads(text))

    @property
    def is_expensive(self) -> bool:
        """Connections take so long to make that they are worth using again."""
        return self.address.startswith("ssh://") or self.is_secure or not self.is_near

    @property
    def is_near(self) -> bool:
        """The address is one of this host."""
        parts = urlsplit(self.address)
        return parts.scheme in ("unix", "npipe") or parts.hostname in LOOPBACK_HOSTS

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that is not connected yet."""
        if self.address.startswith("unix://"):
            return _UnixConnection(self.address.removeprefix("unix://"), timeout_s)
        if self.address.startswith("npipe://"):
            from pytest_isolate.engine.docker.transport.npipe import PipeConnection  # Windows only

            return PipeConnection(self.address, timeout_s)
        if self.address.startswith("ssh://"):
            from pytest_isolate.engine.docker.transport.ssh import SshConnection  # rarely needed

            return SshConnection(self.address, timeout_s)
        if self.is_secure:
            return http.client.HTTPSConnection(*self._target, timeout=timeout_s, context=self.trust)
        return http.client.HTTPConnection(*self._target, timeout=timeout_s)

    def line(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection whose sending half can be ended by itself; it is not connected yet."""
        if not self.is_secure:
            return self.connection(timeout_s)
        from pytest_isolate.engine.docker.transport.tls import HalfOpenConnection  # rarely needed

        return HalfOpenConnection(*self._target, timeout_s, self.trust)

    @property
    def is_secure(self) -> bool:
        """TLS is spoken at the address."""
        scheme = urlsplit(self.address).scheme
        return scheme == "https" or (scheme in ("tcp", "http") and bool(self.certificates))

    @property
    def _target(self) -> tuple[str, int]:
        parts = urlsplit(self.address)
        return parts.hostname or "", parts.port or (_TLS_PORT if self.is_secure else _TCP_PORT)

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """Whom to trust and what to show; read once, for that takes milliseconds."""
        import ssl  # rarely needed

        authority, own = self.file("ca.pem"), self.file("cert.pem")
        if self.certificates and not (authority or own) and self.is_verified:
            raise FileNotFoundError(2, "No such file or directory", f"{self.certificates}/ca.pem")
        trust = ssl.create_default_context(cafile=authority or None)
        if not self.is_verified:
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        if own:
            trust.load_cert_chain(own, f"{self.certificates}/key.pem")
        return trust

    def file(self, name: str) -> str:
        """One of the certificates; empty where it is not there."""
        path = Path(self.certificates, name)
        return str(path) if self.certificates and path.exists() else ""


class ConnectionPool:
    """Connections that wait for their next request. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, http.client.HTTPConnection]] = []

    def take(self) -> http.client.HTTPConnection | None:
        """The one used last, if it still stands; others go."""
        while True:
            with self._lock:
                if not self._waiting:
                    return None
                since, connection = self._waiting.pop()
            if time.monotonic() - since < _IDLE_S and _stands(connection.sock):
                return connection
            end(connection)

    def put(self, connection: http.client.HTTPConnection) -> None:
        """Let one wait whose answer was read to its end."""
        with self._lock:
            self._waiting.append((time.monotonic(), connection))
            gone = self._waiting[:-_MAX_IDLE]
            del self._waiting[:-_MAX_IDLE]
        for _, oldest in gone:
            end(oldest)

    def close(self) -> None:
        """End them all."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for _, connection in waiting:
            end(connection)


def _stands(sock: socket.socket | None) -> bool:
    """Tell that nothing has come on a connection: what does before a request is its end."""
    if sock is None:
        return False
    if sys.platform == "win32" or not hasattr(select, "poll"):  # Windows, where select takes sockets of any number
        return not select.select([sock], [], [], 0)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
