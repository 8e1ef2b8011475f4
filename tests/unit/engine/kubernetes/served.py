"""A small API server on a socket of this host, with TLS or without, whose answers are a test's own."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True)
class Request:
    """A request that came; `number` counts the connections."""

    method: str
    target: str
    headers: Mapping[str, str]  # names in small letters
    body: bytes
    number: int
    sock: Any

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = bytes | Callable[[Request], None]
"""Bytes that are sent, or a function that takes the connection over; an empty answer ends the connection."""


def answer(content: object = None, status: int = 200, **headers: str) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps({} if content is None else content).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def refusal(status: int, reason: str, message: str, **headers: str) -> bytes:
    content = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message}
    return answer(content, status, **headers)


class Served:
    """The server. What it was asked is in `requests`."""

    def __init__(self, says: Callable[[Request], Answer], trust: ssl.SSLContext | None = None) -> None:
        self.says = says
        self.requests: list[Request] = []
        self.failures: list[BaseException] = []
        self.connections = 0
        self._trust = trust
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.address = f"http{'s' if trust else ''}://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def asked(self) -> list[str]:
        return [f"{request.method} {request.target}" for request in self.requests]

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Break all connections."""
        for sock in self._open:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock = self._listening.accept()[0]
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._trust:
                sock = self._trust.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            while request := self._read(sock, number):
                self.requests.append(request)
                said = self.says(request)
                if callable(said):
                    said(request)
                    return
                if not said:
                    return
                sock.sendall(said)
        except OSError:
            pass  # the client has ended it
        except BaseException as error:
            self.failures.append(error)
            raise
        finally:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            sock.close()

    def _read(self, sock: socket.socket, number: int) -> Request | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = sock.recv(1)
            if not piece:
                return None
            head += piece
            if head == b"\x16":  # TLS, which this one does not speak, and says so as others do
                sock.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return None
        first, *lines = head.decode().strip().split("\r\n")
        method, target, _ = first.split(" ")
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        body = read_exactly(sock, int(headers.get("content-length", 0)))
        return Request(method, target, headers, body, number, sock)


def read_exactly(sock: Any, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = sock.recv(size - len(content))
        if not piece:
            raise ConnectionResetError
        content += piece
    return content


# -- WebSockets --------------------------------------------------------------------------------------------------------


class ServedSocket:
    """The server's side of a WebSocket. `piece_bytes` cuts what it sends, wherever that is."""

    def __init__(self, request: Request, protocol: str | None, piece_bytes: int = 0) -> None:
        self._sock = request.sock
        self._piece_bytes = piece_bytes
        self._sending = threading.Lock()
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        key = request.headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines.append(f"Sec-WebSocket-Accept: {accept}")
        if protocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {protocol}")
        self._send("\r\n".join([*lines, "", ""]).encode())

    def send(self, content: bytes, opcode: int = 2, *, is_final: bool = True) -> None:
        first = opcode | (0x80 if is_final else 0)
        if len(content) < 126:
            head = bytes([first, len(content)])
        elif len(content) < 1 << 16:
            head = struct.pack(">BBH", first, 126, len(content))
        else:
            head = struct.pack(">BBQ", first, 127, len(content))
        self._send(head + content)

    def close(self, code: int = 1000, text: bytes = b"") -> None:
        with suppress(OSError):
            self.send(struct.pack(">H", code) + text, 8)

    def receive(self) -> bytes | None:
        """The next message; None at the end. Pings and pongs are noted."""
        while True:
            try:
                first, second = read_exactly(self._sock, 2)
            except OSError:
                return None
            assert second & 0x80, "clients mask"
            size = second & 0x7F
            if size == 126:
                size = struct.unpack(">H", read_exactly(self._sock, 2))[0]
            elif size == 127:
                size = struct.unpack(">Q", read_exactly(self._sock, 8))[0]
            mask = read_exactly(self._sock, 4)
            content = read_exactly(self._sock, size)
            if mask != bytes(4):
                content = bytes(byte ^ mask[place % 4] for place, byte in enumerate(content))
            match first & 0x0F:
                case 8:
                    return None
                case 9:
                    self.pings.append(content)
                    self.send(content, 10)
                case 10:
                    self.pongs.append(content)
                case _:
                    return content

    def _send(self, content: bytes) -> None:
        step = self._piece_bytes or len(content)
        with self._sending:
            for start in range(0, len(content), step):
                self._sock.sendall(content[start : start + step])


# -- certificates ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificates:
    """An authority of the tests' own, a server's certificate for localhost and 127.0.0.1, and a client's."""

    folder: Path

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def server_trust(self, *, asks_for_certificate: bool = False) -> ssl.SSLContext:
        trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.folder / "ca.pem"))
        trust.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as servers in Go have it
        trust.load_cert_chain(self.folder / "server.pem", self.folder / "server-key.pem")
        if asks_for_certificate:
            trust.verify_mode = ssl.CERT_REQUIRED
        return trust


def make_certificates(folder: Path) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")

    def run(command: str) -> None:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)

    run("req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -days 2 -subj /CN=authority")
    for name, about in (("server", "subjectAltName=DNS:localhost,DNS:api.example,IP:127.0.0.1"), ("client", "")):
        run(f"req -newkey rsa:2048 -nodes -keyout {name}-key.pem -out {name}.csr -subj /CN={name}")
        (folder / f"{name}.ext").write_text(f"{about}\n")
        run(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out {name}.pem "
            f"-extfile {name}.ext"
        )
    return Certificates(folder)
