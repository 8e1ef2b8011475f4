"""A pod behind a served API server: port-forward to ports of this host, as servers with moby/spdystream do it."""

from __future__ import annotations

import socket
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pytest_isolate.engine.kubernetes.transport.spdy import build_dictionary

from .served import Answer, Request, ServedSocket, answer, refusal

SPDY = "SPDY/3.1+portforward.k8s.io"
V4 = "v4.channel.k8s.io"
_FIN = 1


@dataclass
class _Stream:
    headers: dict[str, str]
    sock: socket.socket | None = None
    is_replied: bool = False
    waiting: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class SpdyPod:
    """One tunnel, the server's side of it. Ports are those of this host, unless `ports` names others."""

    def __init__(self, line: ServedSocket, ports: dict[int, int], is_gone: Callable[[], bool] = lambda: False) -> None:
        self._is_gone = is_gone
        self._line = line
        self._ports = ports
        self._unpack = zlib.decompressobj(zdict=build_dictionary())
        self._pack = zlib.compressobj(zdict=build_dictionary())
        self._streams: dict[int, _Stream] = {}
        self._pairs: dict[str, dict[str, int]] = {}
        self._sending = threading.Lock()
        self._socks: list[tuple[socket.socket, threading.Thread]] = []
        self.resets: list[int] = []
        self.pongs: list[int] = []

    def serve(self) -> None:
        buffer = b""
        while (message := self._line.receive()) is not None:
            buffer += message
            while len(buffer) >= 8:
                first, second = struct.unpack(">II", buffer[:8])
                size = second & 0xFFFFFF
                if len(buffer) < 8 + size:
                    break
                self._take(first, second >> 24, buffer[8 : 8 + size])
                buffer = buffer[8 + size :]
        for sock, thread in self._socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            thread.join()
            sock.close()

    def send(self, first: int, flags: int, content: bytes = b"") -> None:
        with self._sending:
            self._line.send(struct.pack(">II", first, flags << 24 | len(content)) + content)

    def control(self, kind: int, content: bytes, flags: int = 0) -> None:
        self.send(0x80030000 | kind, flags, content)

    def _take(self, first: int, flags: int, content: bytes) -> None:
        if not first >> 31:
            self._take_data(first, flags, content)
            return
        assert first >> 16 == 0x8003
        number = struct.unpack(">I", content[:4])[0]
        match first & 0xFFFF:
            case 1:
                self._open(number, self._read_headers(content[10:]))
            case 3:
                self.resets.append(number)
                stream = self._streams.pop(number, None)
                if stream and stream.sock:
                    with suppress(OSError):
                        stream.sock.shutdown(socket.SHUT_RDWR)
            case 6:
                self.pongs.append(number)
            case kind:
                raise AssertionError(f"a frame of kind {kind}")

    def _read_headers(self, packed: bytes) -> dict[str, str]:
        raw = self._unpack.decompress(packed)
        count, place, texts = struct.unpack(">I", raw[:4])[0], 4, []
        for _ in range(2 * count):
            size = struct.unpack(">I", raw[place : place + 4])[0]
            texts.append(raw[place + 4 : place + 4 + size].decode())
            place += 4 + size
        assert place == len(raw)
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def _open(self, number: int, headers: dict[str, str]) -> None:
        self._streams[number] = _Stream(headers)
        pair = self._pairs.setdefault(headers["requestid"], {})
        pair[headers["streamtype"]] = number
        empty = self._pack.compress(struct.pack(">I", 0)) + self._pack.flush(zlib.Z_SYNC_FLUSH)
        self.control(2, struct.pack(">I", number) + empty)
        self._streams[number].is_replied = True
        if len(pair) == 2:
            threading.Thread(target=self._connect, args=(pair["data"], pair["error"]), daemon=True).start()

    def _connect(self, number: int, error: int) -> None:
        stream = self._streams[number]
        port = int(stream.headers["port"])
        try:
            if self._is_gone():
                raise ConnectionError("the sandbox is not running")
            sock = socket.create_connection(("127.0.0.1", self._ports.get(port, port)))
        except OSError as refused:
            with suppress(OSError):  # the client goes with the first of it
                self.send(error, 0, f"failed to connect to localhost:{port} inside namespace: {refused}".encode())
                self.send(error, _FIN)
                self.send(number, _FIN)
            return
        self._socks.append((sock, threading.current_thread()))
        with stream.lock:
            stream.sock = sock
            for piece in stream.waiting:
                self._write(stream, piece)
        with suppress(OSError):
            while piece := sock.recv(1 << 15):
                self.send(number, 0, piece)
        with suppress(OSError):
            self.send(number, _FIN)
            self.send(error, _FIN)

    def _take_data(self, number: int, flags: int, content: bytes) -> None:
        stream = self._streams.get(number)
        if not stream or not stream.is_replied or stream.headers["streamtype"] == "error":
            return  # dropped, as theirs does
        pieces = [content] if content else []
        pieces += [b""] if flags & _FIN else []
        with stream.lock:
            if stream.sock is None:
                stream.waiting += pieces
                return
            for piece in pieces:
                self._write(stream, piece)

    def _write(self, stream: _Stream, piece: bytes) -> None:
        assert stream.sock
        with suppress(OSError):
            if piece:
                stream.sock.sendall(piece)
            else:
                stream.sock.shutdown(socket.SHUT_WR)


def serve_old(request: Request, line: ServedSocket, ports: dict[int, int]) -> None:
    """One connection, as servers before 1.31 have it."""
    port = int(request.target.partition("ports=")[2])
    for channel in (0, 1):
        line.send(bytes([channel]) + struct.pack("<H", port))
    try:
        sock = socket.create_connection(("127.0.0.1", ports.get(port, port)))
    except OSError as refused:
        line.send(b"\x01" + str(refused).encode())
        line.close()
        return

    def back() -> None:
        with suppress(OSError):
            while piece := sock.recv(1 << 15):
                line.send(b"\x00" + piece)
        line.close()

    thread = threading.Thread(target=back, daemon=True)
    thread.start()
    with suppress(OSError):
        while (message := line.receive()) is not None:
            assert message[0] == 0
            sock.sendall(message[1:])
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    thread.join()
    sock.close()


class Pods:
    """What an API server says of port-forward. `missing` are pods that are gone."""

    def __init__(self, *, is_old: bool = False, piece_bytes: int = 0) -> None:
        self.is_old = is_old
        self.piece_bytes = piece_bytes
        self.ports: dict[int, int] = {}
        self.known: set[str] = set()
        self.missing: set[str] = set()
        self.tunnels: list[SpdyPod] = []
        self.lines: list[ServedSocket] = []
        self.dialled: list[str] = []
        self.around: Callable[[Request], Answer | None] = lambda _: None

    def __call__(self, request: Request) -> Answer:
        said = self.around(request)
        if said is not None:
            return said
        if "portforward" not in request.target:
            return answer({"items": [{"metadata": {"name": pod}} for pod in self.known - self.missing]})
        pod = request.target.split("/")[6]
        if pod in self.missing:
            return refusal(404, "NotFound", f'pods "{pod}" not found')
        self.dialled.append(pod)
        offered = request.headers["sec-websocket-protocol"].split(", ")
        wanted = V4 if self.is_old else SPDY
        if wanted not in offered:
            # golang.org/x/net/websocket
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return self._serve

    def _serve(self, request: Request) -> None:
        line = ServedSocket(request, V4 if self.is_old else SPDY, self.piece_bytes)
        self.lines.append(line)
        if self.is_old:
            serve_old(request, line, self.ports)
            return
        pod = request.target.split("/")[6]
        tunnel = SpdyPod(line, self.ports, lambda: pod in self.missing)
        self.tunnels.append(tunnel)
        tunnel.serve()


class TcpService:
    """A program that listens on a port of this host; each connection is given to a function."""

    def __init__(self, serve: Callable[[Any], None]) -> None:
        self._serve = serve
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listening.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> TcpService:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                sock = self._listening.accept()[0]
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._handle, args=(sock,), daemon=True).start()

    def _handle(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            self._serve(sock)


def echo(sock: socket.socket) -> None:
    while piece := sock.recv(1 << 16):
        sock.sendall(piece)


def count_to_end(sock: socket.socket) -> None:
    """Answer only when the client has ended its side: with the number of bytes."""
    size = 0
    while piece := sock.recv(1 << 16):
        size += len(piece)
    sock.sendall(str(size).encode())
