"""Host ports: picked by the kernel, and held while the instance lives.

A held socket is bound with SO_REUSEADDR and never listens: the kernel gives its port to no other process, while the
engine, which binds with SO_REUSEADDR too, can still listen on it, also after a restart of the container.

The forwarder of a virtual machine cannot: on macOS and Windows, and behind ssh, any bound socket is in its way. For
these, ports are picked and claimed by locks, which other runs see, and no socket is bound when the engine is asked.
"""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec import Struct, field

from pytest_isolate.engine.api import LOOPBACK
from pytest_isolate.errors import AddressSpaceFull, StartError
from pytest_isolate.model.endpoint import Port
from pytest_isolate.sharing.board import try_to_hold

# Claims a loopback address for one stack: bound without SO_REUSEADDR, so a second claim fails, in any process.
_CLAIM_PORT = 61_173
_CLAIM_TRIES = 200
_UDP_TRIES = 20
REMOTE_RANGE = range(20_000, 30_000)
"""Ports that no socket holds. Below those that kernels give to outgoing connections, and engines to whom asks for any
port (from 32,768 on), and those that Kubernetes publishes nodes' services on (from 30,000 on)."""
# A listener on one of these has its port on every address.
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared, not bound


class HeldPorts(Struct):
    """Ports at one host: inner port to host port, and the sockets that hold them."""

    host: str
    by_inner: dict[Port, int]
    sockets: list[socket.socket] = field(default_factory=list)
    publish_on: str = ""
    """The address that the engine publishes them on, where that is another one."""
    claims: list[Callable[[], None]] = field(default_factory=list)
    """Functions that end the claims on ports that no socket holds."""
    address_id: str = ""
    """Of an address that the engine has given for the instance alone."""
    give_back: Callable[[], None] | None = None
    """A function that gives this address back to the engine."""

    def release(self) -> None:
        """Let go of what this process holds; the container has its ports still. Safe to repeat."""
        while self.sockets:
            self.sockets.pop().close()
        while self.claims:
            self.claims.pop()()

    def end(self) -> None:
        """Let go of the ports of a container that is gone; other processes must not use it any more. Safe to repeat."""
        self.release()
        if self.give_back:
            self.give_back()
            self.give_back = None


def hold_free_ports(inner_ports: Iterable[int], host: str = LOOPBACK) -> HeldPorts:
    """A free port of `host` for each inner port."""
    held = HeldPorts(host=host, by_inner={})
    for inner in inner_ports:
        sock = _bound(host, 0)
        held.sockets.append(sock)
        held.by_inner[inner] = sock.getsockname()[1]
    return held


def hold_known_ports(by_inner: Mapping[Port, int], host: str) -> HeldPorts:
    """Ports that this run holds already, held once more: for as long as the instance lives."""
    sockets = [_bound(host, outer) for outer in by_inner.values()]
    return HeldPorts(host=host, by_inner=dict(by_inner), sockets=sockets)


def pick_ports(inner_ports: Iterable[Port], host: str, publish_on: str, rng: random.Random) -> HeldPorts:
    """A port for each inner port on an engine elsewhere. Whether it is free only the engine can say, at the start."""
    inner_ports = list(inner_ports)
    return HeldPorts(
        host=host,
        by_inner=dict(zip(inner_ports, rng.sample(REMOTE_RANGE, len(inner_ports)), strict=True)),
        publish_on=publish_on,
    )


def pick_udp_ports(inner_ports: Iterable[str], publish_on: str, rng: random.Random) -> dict[Port, int]:
    """A port for each of UDP that nothing on this host has. It cannot be held: the engine shares it with no socket.

    The kernel gives none of these to other programs by itself, and the start tells when a program has taken one.
    """
    picked: dict[Port, int] = {}
    for inner in inner_ports:
        tries = [port for port in rng.sample(REMOTE_RANGE, _UDP_TRIES) if port not in picked.values()]
        picked[inner] = next((port for port in tries if _is_free(publish_on, port, socket.SOCK_DGRAM)), tries[0])
    return picked


def claim_free_ports(
    inner_ports: Iterable[int], host: str, publish_on: str, rng: random.Random, folder: Path
) -> HeldPorts:
    """A port of this host for each inner port, which is free now, and claimed by a lock in the folder."""
    claimed = HeldPorts(host=host, by_inner={}, publish_on=publish_on)
    try:
        for inner in inner_ports:
            claimed.by_inner[inner], release = _claim_one(publish_on, rng, folder)
            claimed.claims.append(release)
    except BaseException:
        claimed.release()
        raise
    return claimed


def _claim_one(host: str, rng: random.Random, folder: Path) -> tuple[int, Callable[[], None]]:
    for _ in range(_CLAIM_TRIES):
        port = rng.choice(REMOTE_RANGE)
        release = try_to_hold(folder / str(port))
        if release and _is_free(host, port, socket.SOCK_STREAM):
            return port, release
        if release:
            release()
    raise AddressSpaceFull(
        "no free port of this host was found",
        tried=f"{_CLAIM_TRIES} ports from {REMOTE_RANGE.start} to {REMOTE_RANGE.stop - 1}, by binding each on {host}",
        found="each is in use, or claimed by another run",
        do="end other runs: pytest-isolate ps",
    )


def _is_free(host: str, port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        if sys.platform == "win32":
            # Without it, Windows lets two programs have one port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True


def hold_native_ports(inner_ports: Iterable[int], host: str, service: str) -> HeldPorts:
    """The same port numbers outside as inside; StartError says who has one that is in use."""
    held = HeldPorts(host=host, by_inner={})
    for inner in inner_ports:
        try:
            held.sockets.append(_bound(host, inner))
        except OSError as error:
            held.release()
            if isinstance(error, PermissionError):
                raise StartError(
                    service,
                    f"may not have its native port {inner}",
                    tried=f"bind {host}:{inner}",
                    found=f"{error.strerror}: ports below 1024 are root's",
                    do="sysctl net.ipv4.ip_unprivileged_port_start=0, or use ports='held' for the stack",
                ) from error
            raise StartError(
                service,
                f"cannot have its native port {inner}",
                tried=f"bind {host}:{inner}",
                found=f"{error.strerror}; {describe_holder(host, inner)}",
                do="stop that process (a listener on 0.0.0.0 blocks the port on every loopback address), "
                "or use ports='held' for the stack",
            ) from error
        held.by_inner[inner] = inner
    return held


def claim_loopback_address(rng: random.Random) -> tuple[str, socket.socket]:
    """A loopback address that no other stack of any run on this host has; it is ours while the socket is open."""
    for _ in range(_CLAIM_TRIES):
        # 127.0.x.y is left alone: systemd-resolved, Debian's own host name and many hand-made set-ups live there.
        host = f"127.{rng.randint(1, 254)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((host, _CLAIM_PORT))
        except OSError:
            claim.close()
            continue
        return host, claim
    raise AddressSpaceFull(
        "no loopback address for a stack with native ports was found",
        tried=f"{_CLAIM_TRIES} addresses in 127.0.0.0/8, claimed with UDP port {_CLAIM_PORT}",
        found="each is in use, or this system has only 127.0.0.1 (loopback addresses need Linux)",
        do="use ports='held' for the stack",
    )


def describe_holder(host: str, port: int) -> str:
    """Name the process that listens on a port, as far as the rights of this one allow to see."""
    import psutil  # only to explain an error

    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return "who has it cannot be seen without more rights"
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        if connection.laddr.port == port and connection.laddr.ip in (host, *_EVERYWHERE):
            return f"{_name_process(connection.pid)} listens on {connection.laddr.ip}:{port}"
    return "no listener can be seen; a container without a user-land proxy may have it"


def _name_process(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    import psutil  # only to explain an error

    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid}"


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
