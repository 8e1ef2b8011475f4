"""Connections to a host: straight, or through a proxy."""

from __future__ import annotations

import base64
import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_isolate.errors import EngineError

CONNECT_S = 10
PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
# A peer that vanished is found out about within 35 s, also by who only reads.
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 35_000}
_SOCKS_REFUSALS = {
    2: "not allowed by its rules",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "connection refused",
}


class ProxyRefused(OSError):
    """A proxy that does not connect to the API server."""


def find_proxy(server: str, named: str, source: str, env: Mapping[str, str]) -> SplitResult | None:
    """The proxy to a server: the one that its source names, or that of the environment, as programs in Go read it."""
    if named:
        return _parse_proxy(named, source)
    parts = urlsplit(server)
    name = f"{parts.scheme}_proxy"
    found = env.get(name.upper()) or env.get(name)
    host = parts.hostname or ""
    if not found or _is_loopback(host):
        return None
    exceptions = env.get("NO_PROXY") or env.get("no_proxy") or ""
    port = parts.port or PORTS.get(parts.scheme, 0)
    if any(_is_excepted(host, port, rule) for rule in exceptions.lower().split(",")):
        return None
    return _parse_proxy(found if "://" in found else f"http://{found}", f"the variable {name.upper()}")


def _parse_proxy(address: str, source: str) -> SplitResult:
    parts = urlsplit(address)
    if parts.scheme in ("http", "socks5", "socks5h") and parts.hostname:
        return parts
    raise EngineError(
        f"the proxy of {source} cannot be used",
        found=f"{parts.scheme}://{parts.hostname or ''}",
        do="name one with http:// or socks5://",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_excepted(host: str, port: int, rule: str) -> bool:
    """Tell that an entry of NO_PROXY means a host: `*`, a name and what is below it, an address, a network."""
    rule = rule.strip()
    if rule in ("", "*"):
        return rule == "*"
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        pass  # one of them is a name
    name, colon, rule_port = rule.rpartition(":")
    if colon and rule_port.isdigit():
        if int(rule_port) != port:
            return False
        rule = name.strip("[]")
    rule = rule.removeprefix("*")
    return host == rule or host.endswith(rule if rule.startswith(".") else f".{rule}")


def dial(proxy: SplitResult | None, host: str, port: int) -> socket.socket:
    """A connection to a host, which waits without an end; the proxy resolves its name."""
    if not proxy:
        return _connect(host, port)
    sock = _connect(proxy.hostname or "", proxy.port or PORTS[proxy.scheme])
    try:
        sock.settimeout(CONNECT_S)
        (_ask_socks if proxy.scheme.startswith("socks") else _ask_http_proxy)(sock, proxy, host, port)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


def _ask_http_proxy(sock: socket.socket, proxy: SplitResult, host: str, port: int) -> None:
    target = f"{f'[{host}]' if ':' in host else host}:{port}"
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.username:
        both = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        request += f"Proxy-Authorization: Basic {base64.b64encode(both.encode()).decode()}\r\n"
    sock.sendall(f"{request}\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows is the server's
        piece = sock.recv(1)
        if not piece or len(head) > 1 << 16:
            raise ProxyRefused(None, f"the proxy {proxy.hostname} ended the connection")
        head += piece
    first = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if first.split()[1:2] != ["200"]:
        raise ProxyRefused(None, f"the proxy {proxy.hostname} does not connect to {target}: {first}")


def _ask_socks(sock: socket.socket, proxy: SplitResult, host: str, port: int) -> None:
    """Ask a SOCKS proxy (RFC 1928, RFC 1929); it resolves the name."""
    user, password = unquote(proxy.username or "").encode(), unquote(proxy.password or "").encode()
    sock.sendall(b"\x05\x02\x00\x02" if user else b"\x05\x01\x00")
    method = _read_exactly(sock, 2)[1]
    if method == 2 and user:
        sock.sendall(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        if _read_exactly(sock, 2)[1]:
            raise ProxyRefused(None, f"the proxy {proxy.hostname} refuses the login")
    elif method:
        raise ProxyRefused(None, f"the proxy {proxy.hostname} wants another login")
    sock.sendall(b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big"))
    answer = _read_exactly(sock, 4)
    if answer[1]:
        reason = _SOCKS_REFUSALS.get(answer[1], f"code {answer[1]}")
        raise ProxyRefused(None, f"the proxy {proxy.hostname} does not connect to {host}:{port}: {reason}")
    length = {1: 4, 4: 16}.get(answer[3]) or _read_exactly(sock, 1)[0]
    _read_exactly(sock, length + 2)


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes([3, len(name)]) + name
    return bytes([1 if address.version == 4 else 4]) + address.packed


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = sock.recv(size - len(received))
        if not piece:
            raise ProxyRefused(None, "the proxy ended the connection")
        received += piece
    return received


def _connect(host: str, port: int) -> socket.socket:
    sock = socket.create_connection((host, port), timeout=CONNECT_S)
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock
