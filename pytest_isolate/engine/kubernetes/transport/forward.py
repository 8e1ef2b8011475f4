"""Connections to the ports of a pod, by as few lines to the API server as will do.

That is kubectl's way (`SPDY/3.1+portforward.k8s.io`, servers from 1.31 on). Older servers get a WebSocket for each
connection, without half-close. A tunnel that broke, or stands still for a reader that does not read, is no longer used
for new connections: the next one dials anew.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from weakref import WeakSet

from pytest_isolate.engine.kubernetes.api_errors import ApiError
from pytest_isolate.engine.kubernetes.transport.carried import Carried, Channel
from pytest_isolate.engine.kubernetes.transport.dial import Dialer
from pytest_isolate.engine.kubernetes.transport.lines import Lines
from pytest_isolate.engine.kubernetes.transport.tunnel import OldLine, Tunnel
from pytest_isolate.engine.kubernetes.transport.upgrade import ProtocolRefused, open_websocket
from pytest_isolate.engine.kubernetes.transport.websocket import WebSocket
from pytest_isolate.errors import EngineError, EngineUnreachable

_SPDY = "SPDY/3.1+portforward.k8s.io"
_V4 = "v4.channel.k8s.io"
# A server that restarts, or a pod that is only just up, gets so long.
_DIALS_WITHIN_S = 10
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class PodPorts:
    """The ports of one pod, by as few tunnels as will do. All methods are called in the loop."""

    def __init__(self, dialer: Dialer, path: str) -> None:
        self._dialer = dialer
        self._path = f"{path}/portforward"
        self._what = f"forward ports of pod {path.rpartition('/')[2]}"
        self._dialling = asyncio.Lock()
        self._tunnels: list[Tunnel] = []
        self._old_lines: WeakSet[WebSocket] = WeakSet()
        self._is_old = False
        self._idle_since: float | None = None
        self._is_closed = False

    async def open_channel(self, port: int, carried: Carried) -> Channel:
        """A new connection to a port. A server that does not answer is asked again for a while."""
        loop = asyncio.get_running_loop()
        deadline, pause_s = loop.time() + _DIALS_WITHIN_S, _FIRST_PAUSE_S
        while True:
            try:
                return await self._open_once(port, carried)
            except EngineError as error:
                if not _is_passing(error) or loop.time() + pause_s > deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @property
    def is_open(self) -> bool:
        """True while a tunnel is kept."""
        return bool(self._tunnels)

    def close_idle(self, after_s: float) -> None:
        """End the tunnels that have carried nothing for so long."""
        self._tunnels = [tunnel for tunnel in self._tunnels if not tunnel.is_over]
        now = asyncio.get_running_loop().time()
        if not all(tunnel.is_idle for tunnel in self._tunnels):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > after_s:
            self._close_lines()

    def close(self) -> None:
        """End all connections, which break, and take no more. Safe to repeat."""
        self._is_closed = True
        self._close_lines()

    def _close_lines(self) -> None:
        for tunnel in self._tunnels:
            tunnel.close()
        for line in list(self._old_lines):
            line.close()
        self._tunnels.clear()

    def abort(self) -> None:
        """The same, at once."""
        lines = [*(tunnel.line for tunnel in self._tunnels), *self._old_lines]
        self.close()
        for line in lines:
            line.abort()

    async def _open_once(self, port: int, carried: Carried) -> Channel:
        self._idle_since = None
        if not self._is_old:
            try:
                return await (await self._usable_tunnel()).open_channel(port, carried)
            except ProtocolRefused:
                pass
            except ApiError as error:
                # A server that does not know the protocol answers with a text, and no Status.
                if error.reason or error.status not in (400, 403, 500):
                    raise
        line, _ = await open_websocket(self._dialer, self._what, f"{self._path}?ports={port}", [_V4])
        self._is_old = True
        self._old_lines.add(line)
        return OldLine(line, carried)

    async def _usable_tunnel(self) -> Tunnel:
        async with self._dialling:
            self._tunnels = [tunnel for tunnel in self._tunnels if not tunnel.is_over or not tunnel.is_idle]
            for tunnel in self._tunnels:
                if tunnel.is_usable:
                    return tunnel
            line, _ = await open_websocket(self._dialer, self._what, self._path, [_SPDY])
            if self._is_closed:
                line.close()
                raise EngineError(f"the API server was asked to {self._what}", found="it is no longer wanted")
            self._tunnels.append(Tunnel(line))
            return self._tunnels[-1]


def _is_passing(error: EngineError) -> bool:
    if isinstance(error, ApiError):
        return error.status == 429 or error.status >= 500
    return isinstance(error, EngineUnreachable)


class Forward:
    """The ports of a pod, for threads."""

    def __init__(self, lines: Lines, path: str) -> None:
        self._lines = lines
        self._ports = PodPorts(lines.dialer, path)

    def open(self, port: int) -> Stream:
        """A connection to a port; EngineError where the pod is not reached."""
        ours, theirs = socket.socketpair()

        async def carry() -> Carried:
            loop = asyncio.get_running_loop()
            theirs.setblocking(False)
            self._lines.keep(self._ports)
            open_channel = partial(self._ports.open_channel, port)
            _, carried = await loop.create_connection(lambda: Carried(open_channel), sock=theirs)
            assert carried.opening
            await asyncio.wait([carried.opening])
            return carried

        try:
            carried = self._lines.run(carry())
            if carried.error:
                raise carried.error
        except BaseException:
            ours.close()
            raise
        return Stream(ours, carried)

    def close(self) -> None:
        """End all connections. Safe to repeat."""
        self._lines.call(self._ports.close)


class Stream:
    """A connection to a port of a pod. One thread may send while another receives."""

    def __init__(self, sock: socket.socket, carried: Carried) -> None:
        self._sock = sock
        self._carried = carried

    def send(self, content: bytes) -> None:
        """Send all of it."""
        try:
            self._sock.settimeout(None)
            self._sock.sendall(content)
        except OSError as error:
            raise self._broken(error) from error

    def receive(self, timeout_s: float | None = None) -> bytes:
        """The next bytes; empty at the end; EngineError after the time-out."""
        try:
            self._sock.settimeout(timeout_s)
            received = self._sock.recv(1 << 16)
        except TimeoutError as error:
            raise EngineError("a port of a pod was read", found=f"nothing came within {timeout_s:g} s") from error
        except OSError as error:
            raise self._broken(error) from error
        if not received and self._carried.error:
            raise self._broken(self._carried.error)
        return received

    def half_close(self) -> None:
        """Say that nothing more will be sent; answers still come."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the pod has ended it all

    def close(self) -> None:
        """End it. Safe to repeat."""
        self._sock.close()

    def _broken(self, error: Exception) -> EngineError:
        known = self._carried.error
        if isinstance(known, EngineError):
            return known
        return EngineUnreachable("the connection to a pod broke", found=str(known or error))
