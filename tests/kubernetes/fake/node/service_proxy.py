"""A process in the network of one container that stands for kube-proxy: it carries connections from Services to Pods.

A port of a Service refuses connections unless a Pod behind it listens, as the real one does, which sends packets on:
here the kernel's list of a Pod's sockets is read, so that nothing connects to Pods unasked. Ports of no Service drop
what comes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kubernetes.fake.node.netns import enter

_LOOK_S = 0.1
_LONGEST_LOOK_S = 1.0
"""To look at 60 Services each 0.1 s takes more than half a processor: where nothing changes, pauses become longer."""
_LISTENS = "0A"

Target = tuple[str, int, int]


@dataclass
class Entry:
    """A port of a Service."""

    address: str
    port: int
    targets: list[Target] = field(default_factory=list)
    turns: Iterator[int] = field(default_factory=itertools.count)
    server: asyncio.Server | None = None
    next_look: float = 0
    pause_s: float = _LOOK_S


def listens(target: Target) -> bool:
    """True when a process in the Pod's network listens on the port at the Pod's address."""
    address, port, pid = target
    packed = ipaddress.ip_address(address).packed[::-1].hex().upper()
    everywhere = {packed, "0" * 8, "0" * 32}
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *_ = line.split()
            host, _, number = local.partition(":")
            if state == _LISTENS and int(number, 16) == port and host in everywhere:
                return True
    return False


def _run_ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


class ServiceProxy:
    def __init__(self) -> None:
        self._entries: dict[tuple[str, int], Entry] = {}

    async def run(self, subnet: str) -> None:
        # The table of local addresses is asked last, so that rules for ports come before it.
        _run_ip(
            f"route add local {subnet} dev lo",
            "rule add priority 400 lookup local",
            "rule del priority 0",
            f"rule add to {subnet} ipproto tcp priority 200 blackhole",
            f"rule add to {subnet} ipproto udp priority 200 blackhole",
        )
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print("ready", flush=True)
        looking = asyncio.create_task(self._look())
        while line := await reader.readline():
            order = json.loads(line)
            await self._obey(order["address"], order["port"], order["targets"])
        looking.cancel()

    async def _obey(self, address: str, port: int, targets: list[Target] | None) -> None:
        key = (address, port)
        rule = f"to {address} ipproto tcp dport {port} priority 100 lookup local"
        if targets is None:
            if entry := self._entries.pop(key, None):
                self._close(entry)
                _run_ip(f"rule del {rule}")
            return
        if key not in self._entries:
            self._entries[key] = Entry(address, port)
            _run_ip(f"rule add {rule}")
        entry = self._entries[key]
        entry.targets, entry.pause_s = [(one[0], one[1], one[2]) for one in targets], _LOOK_S
        await self._look_at(entry)

    async def _look(self) -> None:
        while True:
            now = time.monotonic()
            for entry in list(self._entries.values()):
                if entry.next_look <= now:
                    await self._look_at(entry)
            await asyncio.sleep(_LOOK_S)

    async def _look_at(self, entry: Entry) -> None:
        is_open = any(map(listens, entry.targets))
        entry.pause_s = _LONGEST_LOOK_S if is_open else min(entry.pause_s * 1.1, _LONGEST_LOOK_S)
        entry.next_look = time.monotonic() + entry.pause_s
        if is_open and entry.server is None:
            listening = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((entry.address, entry.port))
            entry.server = await asyncio.start_server(
                lambda reader, writer: self._carry(entry, reader, writer), sock=listening, backlog=512, limit=1 << 18
            )
        elif not is_open:
            self._close(entry)

    def _close(self, entry: Entry) -> None:
        """Stop to listen; connections that are open stay."""
        if entry.server:
            entry.server.close()
            entry.server = None

    async def _carry(self, entry: Entry, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = next(entry.turns)
        targets = entry.targets[turn % len(entry.targets) :] + entry.targets[: turn % len(entry.targets)]
        for host, port, _ in filter(listens, targets):
            with suppress(OSError):
                inner_reader, inner_writer = await asyncio.open_connection(host, port, limit=1 << 18)
                await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
                inner_writer.close()
                writer.close()
                return
        self._close(entry)
        entry.pause_s = entry.next_look = _LOOK_S
        writer.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy to the end, and pass the end on."""
    try:
        while data := await source.read(1 << 18):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
    except OSError:
        sink.transport.abort()


if __name__ == "__main__":
    enter(int(sys.argv[1]))
    asyncio.run(ServiceProxy().run(sys.argv[2]))
