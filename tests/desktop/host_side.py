"""The host's side of the stand-in: the engine's socket, and the forwarder that brings its ports to 127.0.0.1.

`python3 -m desktop.host_side FOLDER SOCKET` runs until its container ends. It is what Docker Desktop (`--mode desktop`)
or Lima, which is Colima's and Rancher Desktop's, (`--mode lima`) are to a run; `--mode never` forwards nothing. On
macOS and Windows no port can be bound to which another socket is bound, whether or not that one listens: this forwarder
binds without SO_REUSEADDR, for which Linux has the same rule.
"""

from __future__ import annotations

import argparse
import fcntl
import http.client
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from desktop.wires import dial_path, dial_port, in_thread, listen_at, read_until, serve, serve_ports, splice

_SIOCSIFNETMASK = 0x891C  # linux/sockios.h
_KERNEL = "6.10.14-linuxkit"
_WINDOWS_WORDS = "Only one usage of each socket address (protocol/network address/port) is normally permitted."
_LATE_BIND_S = 0.4
_START = re.compile(r"POST (/v[\d.]+/containers/([^/]+)/start)")
_END = re.compile(r"POST (/v[\d.]+/containers/([^/]+)/(?:stop|kill)(?:\?\S*)?) ")
_TOLD = re.compile(r"GET (/v[\d.]+)?/(version|info|containers/([^/]+)/json)(\?\S*)? ")


class Connection(http.client.HTTPConnection):
    """HTTP to the engine in the machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__("localhost")
        self._folder = folder

    def connect(self) -> None:
        self.sock = dial_path(self._folder / "docker.sock")


class Forwarder:
    """The ports of the machine's containers on this host."""

    def __init__(self, folder: Path, words: str, late_s: float) -> None:
        self._folder = folder
        self._words = words
        self._late_s = late_s
        self._lock = threading.Lock()
        self._bound: dict[str, list[socket.socket]] = {}

    def bind(self, container: str, ports: Iterable[tuple[str, int]]) -> str:
        """Bind the ports of a container; the reason, in a desktop's words, where one cannot be had."""
        bound: list[socket.socket] = []
        for host, port in ports:
            sock = socket.socket()
            try:
                sock.bind((host, port))
            except OSError as error:
                for other in (sock, *bound):
                    other.close()
                at = f"{host}:{port}"
                why = self._words or (error.strerror or str(error)).lower()
                return f"Ports are not available: exposing port TCP {at} -> {at}: listen tcp {at}: bind: {why}"
            sock.listen(64)
            bound.append(sock)
        with self._lock:
            self._bound.setdefault(container, []).extend(bound)
        for sock in bound:
            serve(sock, self._forward)
        return ""

    def let_go(self, container: str) -> None:
        """Close the ports of a container that has ended."""
        with self._lock:
            bound = self._bound.pop(container, [])
        for sock in bound:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            sock.close()

    def _forward(self, client: socket.socket) -> None:
        with dial_port(self._folder / "machine", client.getsockname()[1]) as sock:
            splice(client, sock, self._late_s)


class Api:
    """The engine's socket as this host sees it. Each request has a connection of its own."""

    def __init__(self, folder: Path, forwarder: Forwarder, mode: str, late_inspect_s: float) -> None:
        self._folder = folder
        self._forwarder = forwarder
        self._mode = mode
        self._late_inspect_s = late_inspect_s
        self._started: dict[str, float] = {}

    def answer(self, client: socket.socket) -> None:
        """Answer one request, most of them as the engine does."""
        head = read_until(client, b"\r\n\r\n").decode("latin-1")
        start, end, told = _START.match(head), _END.match(head), _TOLD.match(head)
        if start:
            self._start(client, start[1], start[2])
        elif end:
            status, body = self._ask("POST", end[1])
            # When it has ended for who asks, its ports are closed.
            self._forwarder.let_go(end[2])
            _reply(client, status, json.loads(body) if body else None)
        elif told:
            self._tell(client, head.split()[1], told[2])
        else:
            if "upgrade:" not in head.lower():
                head = re.sub(r"(?i)\r\nconnection:[^\r]*", "", head).replace("\r\n", "\r\nConnection: close\r\n", 1)
            with dial_path(self._folder / "docker.sock") as engine:
                engine.sendall(head.encode("latin-1"))
                splice(client, engine)

    def follow_deaths(self) -> None:
        """Let go of the ports of containers as they end."""
        connection = Connection(self._folder)
        connection.request("GET", "/events?filters=%7B%22event%22%3A%5B%22die%22%5D%7D")
        for line in connection.getresponse():
            self._forwarder.let_go(json.loads(line)["id"])

    def _start(self, client: socket.socket, path: str, name: str) -> None:
        container = self._inspect(name)
        known = () if container is None else tuple(_declared(container))
        identifier = name if container is None else container["Id"]
        self._forwarder.let_go(identifier)
        refused = self._forwarder.bind(identifier, known) if self._mode == "desktop" else ""
        if refused:
            _reply(client, 500, {"message": refused})
            return
        status, body = self._ask("POST", path)
        if status >= 300:
            self._forwarder.let_go(identifier)
        else:
            self._started[identifier] = time.monotonic()
            if self._mode == "lima":
                threading.Timer(_LATE_BIND_S, self._bind_late, (identifier,)).start()
            if self._mode == "desktop":
                # What the engine has picked is known from here on.
                self._forwarder.bind(identifier, set(self._published(identifier)) - set(known))
        _reply(client, status, json.loads(body) if body else None)

    def _bind_late(self, container: str) -> None:
        refused = self._forwarder.bind(container, self._published(container))
        if refused:
            print(f"not forwarded: {refused}", file=sys.stderr, flush=True)

    def _tell(self, client: socket.socket, target: str, what: str) -> None:
        status, body = self._ask("GET", target)
        facts = json.loads(body)
        if what in ("version", "info"):
            facts["KernelVersion"] = _KERNEL
        if what == "info" and self._mode == "desktop":
            facts["OperatingSystem"] = "Docker Desktop"
        since = time.monotonic() - self._started.get(str(facts.get("Id", "")), 0)
        if "NetworkSettings" in facts and since < self._late_inspect_s:
            facts["NetworkSettings"]["Ports"] = {}
        _reply(client, status, facts)

    def _inspect(self, container: str) -> dict[str, Any] | None:
        status, body = self._ask("GET", f"/containers/{container}/json")
        return json.loads(body) if status == 200 else None

    def _published(self, container: str) -> list[tuple[str, int]]:
        facts = self._inspect(container)
        ports = (facts["NetworkSettings"]["Ports"] or {}).values() if facts else ()
        return [(b["HostIp"], int(b["HostPort"])) for bindings in ports for b in bindings or ()]

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        with closing(Connection(self._folder)) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()


def _declared(container: dict[str, Any]) -> Iterable[tuple[str, int]]:
    for bindings in (container["HostConfig"]["PortBindings"] or {}).values():
        for binding in bindings or ():
            if binding["HostPort"] not in ("", "0"):
                yield binding["HostIp"] or "0.0.0.0", int(binding["HostPort"])


def _reply(client: socket.socket, status: int, facts: object) -> None:
    body = b"" if facts is None else json.dumps(facts).encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nConnection: close\r\n"
    length = "" if status in (204, 304) else f"Content-Length: {len(body)}\r\n"
    client.sendall(f"{head}{length}\r\n".encode() + body)


def narrow_loopback() -> None:
    """Leave 127.0.0.1 only: macOS has no other loopback address."""
    request = struct.pack("16sHH4s8x", b"lo", socket.AF_INET, 0, socket.inet_aton("255.255.255.255"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFNETMASK, request)


def main() -> None:
    """Serve until the container ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("socket", type=Path)
    parser.add_argument("--mode", choices=("desktop", "lima", "never"), required=True)
    parser.add_argument("--reachable", action="store_true", help="containers reach this host by host-gateway")
    parser.add_argument("--windows-words", action="store_true")
    parser.add_argument("--late-inspect", type=float, default=0)
    parser.add_argument("--late", type=float, default=0, help="seconds that answers and ends of connections take")
    options = parser.parse_args()
    narrow_loopback()
    forwarder = Forwarder(options.folder, _WINDOWS_WORDS if options.windows_words else "", options.late)
    api = Api(options.folder, forwarder, options.mode, options.late_inspect)
    if options.reachable:
        serve_ports(options.folder / "host")
    options.socket.parent.mkdir(parents=True, exist_ok=True)
    serve(listen_at(options.socket), api.answer)
    in_thread(api.follow_deaths)
    print("this host has its engine", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
