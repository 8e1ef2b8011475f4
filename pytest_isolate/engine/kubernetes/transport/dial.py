"""Connections to an API server, also through a proxy: fresh ones, and those that wait for their next request."""

from __future__ import annotations

import http.client
import select
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.engine.kubernetes.transport.credentials import Credentials, Login
from pytest_isolate.engine.kubernetes.transport.proxies import CONNECT_S, PORTS, dial, find_proxy
from pytest_isolate.errors import EngineError

if TYPE_CHECKING:
    import ssl

# A server ends idle connections after 90 s or more, and what lies between sooner.
_IDLE_S = 30.0
_MAX_IDLE = 16


class Dialer:
    """Makes connections to one API server, and names the headers of each request. Safe to use from several threads."""

    def __init__(self, cluster: Cluster, env: Mapping[str, str]) -> None:
        parts = urlsplit(cluster.server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EngineError(f"the address of the API server is wrong: {cluster.server!r}", do="https://host:port")
        self.cluster = cluster
        self.is_secure = parts.scheme == "https"
        self.host, self.port = parts.hostname, parts.port or PORTS[parts.scheme]
        self.host_header = parts.netloc.rpartition("@")[2]
        self.prefix = parts.path.rstrip("/")
        self.server_name = cluster.server_name or self.host
        self.credentials = Credentials(cluster)
        self._proxy = find_proxy(cluster.server, cluster.proxy, cluster.source, env)
        self._lock = threading.Lock()
        self._trust: tuple[tuple[str, str], ssl.SSLContext] | None = None

    def headers(self, login: Login) -> list[tuple[str, str]]:
        """Headers of a request that show this login."""
        shown = [(name, value) for name, values in self.cluster.impersonates.items() for value in values]
        return [*shown, ("Authorization", login.authorization)] if login.authorization else shown

    def trust(self, login: Login) -> ssl.SSLContext | None:
        """Whom to trust, and what to show; None where the server speaks no TLS. Made once: that takes milliseconds."""
        if not self.is_secure:
            return None
        pair = (login.certificate, login.key)
        with self._lock:
            if not self._trust or self._trust[0] != pair:
                self._trust = (pair, build_trust(self.cluster, login))
            return self._trust[1]

    def dial(self) -> socket.socket:
        """A connection to the server before any word of TLS, through the proxy where there is one."""
        return dial(self._proxy, self.host, self.port)

    def connection(self, login: Login) -> http.client.HTTPConnection:
        """A connection that is ready for requests."""
        trust = self.trust(login)
        sock = self.dial()
        sock.settimeout(CONNECT_S)
        connection = http.client.HTTPConnection(self.host, self.port)
        connection.auto_open = 0  # what has ended is not dialled again without its TLS
        try:
            connection.sock = trust.wrap_socket(sock, server_hostname=self.server_name) if trust else sock
        except BaseException:
            sock.close()
            raise
        return connection


class IdleConnections:
    """Connections that wait for their next request. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, Login, http.client.HTTPConnection]] = []

    def take(self, login: Login) -> http.client.HTTPConnection | None:
        """The one used last, if it still stands and has shown the same certificate; others go."""
        while True:
            with self._lock:
                if not self._waiting:
                    return None
                since, shown, connection = self._waiting.pop()
            is_same = (shown.certificate, shown.key) == (login.certificate, login.key)
            if is_same and time.monotonic() - since < _IDLE_S and _stands(connection.sock):
                return connection
            connection.close()

    def put(self, login: Login, connection: http.client.HTTPConnection) -> None:
        """Let one wait whose answer was read to its end."""
        with self._lock:
            self._waiting.append((time.monotonic(), login, connection))
            gone = self._waiting[:-_MAX_IDLE]
            del self._waiting[:-_MAX_IDLE]
        for _, _, oldest in gone:
            oldest.close()

    def close(self) -> None:
        """End them all."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for _, _, connection in waiting:
            connection.close()


def build_trust(cluster: Cluster, login: Login) -> ssl.SSLContext:
    """Settings of TLS for a cluster."""
    import ssl  # not where the server speaks none

    try:
        trust = ssl.create_default_context(cadata=cluster.authority or None)
        # Newer Pythons refuse certificates that kubectl takes, such as those of a CA without key identifiers.
        trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not cluster.is_verified:
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        trust.set_alpn_protocols(["http/1.1"])
        if login.certificate:
            _show_certificate(trust, login)
    except (ssl.SSLError, ValueError) as error:
        raise EngineError(f"a certificate of {cluster.source} is wrong", found=str(error)) from error
    return trust


def _show_certificate(trust: ssl.SSLContext, login: Login) -> None:
    # Python reads it from a file only. The folder is readable by this user alone, and gone at once.
    with tempfile.TemporaryDirectory(prefix="isolate-") as folder:
        file = Path(folder, "pair.pem")
        file.write_text(f"{login.certificate}\n{login.key}\n", encoding="utf-8")
        trust.load_cert_chain(file)


def _stands(sock: socket.socket | None) -> bool:
    """Tell that nothing has come on a connection: what does before a request is its end."""
    if sock is None:
        return False
    if sys.platform == "win32" or not hasattr(select, "poll"):  # Windows, where select takes sockets of any number
        return not select.select([sock], [], [], 0)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)
