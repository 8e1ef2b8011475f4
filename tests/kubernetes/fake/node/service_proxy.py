"""A process in the network of one container that stands for kube-proxy: it carries connections from Services to Pods.

It is the cluster's DNS as well.

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
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

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
    listening: socket.socket | None = None
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


class NoNames(asyncio.DatagramProtocol):
    """A DNS server that knows no name, and says so at once: a server that looks its callers up must not wait."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        end = 12
        while data[end : end + 1] > b"\0":
            end += data[end] + 1
        # The question again, without answers: "no such domain".
        self._transport.sendto(data[:2] + b"\x81\x83\0\1" + bytes(6) + data[12 : end + 5], addr)


class ServiceProxy:
    def __init__(self) -> None:
        self._entries: dict[tuple[str, int], Entry] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, subnet: str) -> None:
        # The table of local addresses is asked last, so that rules for ports come before it.
        _run_ip(
            f"route add local {subnet} dev lo",
            "rule add priority 400 lookup local",
            "rule del priority 0",
            f"rule add to {subnet} ipproto tcp priority 200 blackhole",
            f"rule add to {subnet} ipproto udp priority 200 blackhole",
        )
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        await loop.create_datagram_endpoint(NoNames, local_addr=("0.0.0.0", 53))
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print("ready", flush=True)
        looking = self._spawn(self._look())
        while line := await reader.readline():
            order = json.loads(line)
            self._obey(order["address"], order["port"], order["targets"])
        looking.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        # The loop itself refers to tasks only weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _obey(self, address: str, port: int, targets: list[Target] | None) -> None:
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
        self._look_at(entry)

    async def _look(self) -> None:
        while True:
            now = time.monotonic()
            for entry in list(self._entries.values()):
                if entry.next_look <= now:
                    self._look_at(entry)
            await asyncio.sleep(_LOOK_S)

    def _look_at(self, entry: Entry) -> None:
        """Open or close the port; nothing here waits, so that no two looks at one port are under way at once."""
        is_open = any(map(listens, entry.targets))
        entry.pause_s = _LONGEST_LOOK_S if is_open else min(entry.pause_s * 1.1, _LONGEST_LOOK_S)
        entry.next_look = time.monotonic() + entry.pause_s
        if not is_open:
            self._close(entry)
        elif entry.listening is None:
            entry.listening = socket.create_server((entry.address, entry.port), backlog=512)
            entry.listening.setblocking(False)
            asyncio.get_running_loop().add_reader(entry.listening, self._accept, entry, entry.listening)

    def _close(self, entry: Entry) -> None:
        """Stop to listen; connections that are open stay."""
        if entry.listening:
            asyncio.get_running_loop().remove_reader(entry.listening)
            entry.listening.close()
            entry.listening = None

    def _accept(self, entry: Entry, listening: socket.socket) -> None:
        with suppress(OSError):  # the caller has hung up meanwhile
            connection, _ = listening.accept()
            self._spawn(self._carry(entry, connection))

    async def _carry(self, entry: Entry, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=1 << 18)
        targets = [target for target in entry.targets if listens(target)]
        turn = next(entry.turns)
        try:
            for host, port, _ in (targets * 2)[turn % max(len(targets), 1) :][: len(targets)]:
                with suppress(OSError):
                    inner_reader, inner_writer = await asyncio.open_connection(host, port, limit=1 << 18)
                    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
                    inner_writer.close()
                    writer.close()
                    return
            self._close(entry)
            entry.pause_s = entry.next_look = _LOOK_S
        finally:
            # Without effect where all has been carried. Else the caller is refused, however this ends.
            if not writer.is_closing():
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
