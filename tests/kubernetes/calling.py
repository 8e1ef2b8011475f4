"""Requests to an API server, and a WebSocket to it, without any of the code under test."""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml


class Api:
    """The API server of a kubeconfig, as its user in its namespace; `call` returns the status and the object."""

    def __init__(self, kubeconfig: str | Path, namespace: str = "") -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.namespace = namespace or config["contexts"][0]["context"]["namespace"]
        self._address = urlsplit(cluster["server"])
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._tls: ssl.SSLContext | None = None
        if self._address.scheme == "https":
            self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
            if "client-certificate" in user:
                self._tls.load_cert_chain(user["client-certificate"], user["client-key"])

    def connect(self) -> socket.socket:
        assert self._address.hostname
        assert self._address.port
        plain = socket.create_connection((self._address.hostname, self._address.port), timeout=30)
        return self._tls.wrap_socket(plain, server_hostname=self._address.hostname) if self._tls else plain

    def path(self, resource: str) -> str:
        """The path of pods, pods/NAME, leases and so on in the namespace."""
        prefix = "/apis/coordination.k8s.io/v1" if resource.startswith("leases") else "/api/v1"
        return f"{prefix}/namespaces/{self.namespace}/{resource}"

    @contextmanager
    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request, to be read as it comes."""
        connection = http.client.HTTPConnection("unused")
        connection.sock = self.connect()
        text = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
        try:
            kind = {"Content-Type": "application/json"}
            connection.request(method, path, text, {**kind, **self._headers, **(headers or {})})
            yield connection.getresponse()
        finally:
            connection.close()

    def call(
        self, method: str, resource: str, body: Any = None, headers: Mapping[str, str] | None = None, **query: Any
    ) -> tuple[int, Any]:
        path = resource if resource.startswith("/") else self.path(resource)
        with self.request(method, f"{path}?{urlencode(query)}", body, headers) as answer:
            text = answer.read()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        return answer.status, json.loads(text) if is_json else text.decode()

    def get(self, resource: str, **query: Any) -> Any:
        status, found = self.call("GET", resource, **query)
        assert status == 200, found
        return found

    def create(self, resource: str, body: Any) -> Any:
        status, found = self.call("POST", resource, body)
        assert status == 201, found
        return found

    def patch(self, resource: str, body: Any) -> tuple[int, Any]:
        return self.call("PATCH", resource, body, {"Content-Type": "application/merge-patch+json"})

    def watch(self, resource: str, **query: Any) -> Iterator[Any]:
        """Events; the generator is to be closed."""
        path = f"{self.path(resource)}?{urlencode({**query, 'watch': 'true'})}"
        with self.request("GET", path) as answer:
            assert answer.status == 200, answer.read()
            while line := answer.readline():
                yield json.loads(line)

    def websocket(self, resource: str, protocol: str, query: Sequence[tuple[str, str]]) -> WebSocket:
        return WebSocket(self.connect(), f"{self.path(resource)}?{urlencode(query)}", protocol, self._headers)


class WebSocket:
    """A client's side. Where the handshake was refused, `status` is not 101."""

    def __init__(self, connection: socket.socket, path: str, protocol: str, headers: Mapping[str, str]) -> None:
        self._connection = connection
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: server",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}",
            f"Sec-WebSocket-Protocol: {protocol}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._file = connection.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def send(self, data: bytes, code: int = 2) -> None:
        mask = os.urandom(4)
        size = len(data)
        head = bytes([0x80 | code, 0x80 | (size if size < 126 else 126 if size < 1 << 16 else 127)])
        if size >= 126:
            head += struct.pack(">H" if size < 1 << 16 else ">Q", size)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self._connection.sendall(head + mask + masked)

    def messages(self) -> Iterator[bytes]:
        """The messages of the server, to the end; TimeoutError after 30 s of silence."""
        while head := self._file.read(2):
            size = head[1] & 0x7F
            if size > 125:
                size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
            data = self._file.read(size)
            if head[0] & 0x0F == 8:
                self.send(data, code=8)
                return
            if head[0] & 0x0F == 10:
                data = b"pong " + data
            yield data

    def silence_after(self, seconds: float) -> None:
        """Let messages raise TimeoutError after so many seconds of silence."""
        self._connection.settimeout(seconds)

    def close(self) -> None:
        self._file.close()
        self._connection.close()


def read_channels(socket: WebSocket) -> dict[int, bytes]:
    """All that comes until the end, put together by channel."""
    found: dict[int, bytes] = {}
    with closing(socket):
        for message in socket.messages():
            if message:
                found[message[0]] = found.get(message[0], b"") + message[1:]
    return found
