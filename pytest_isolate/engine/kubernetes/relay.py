"""The relay's program: `python -m pytest_isolate.engine.kubernetes.relay FOLDER`, which ends when it listens behind it.

A process of its own, one for each run: it has to outlive workers, and is one thread with a tunnel for each pod in use.
It takes orders over a Unix socket in the run's folder, and notes there which ports lead where: one that is
started after another was killed goes on with them. Listeners go with their pod; the relay goes when none is left for a
minute, or the folder is gone.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pytest_isolate.engine.kubernetes.api_errors import ObjectMissing
from pytest_isolate.engine.kubernetes.cluster_client import ApiError, ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.engine.kubernetes.relay_orders import LOG, READY, SOCKET, STATE, Listening, short_path
from pytest_isolate.engine.kubernetes.transport.carried import Carried, Channel
from pytest_isolate.engine.kubernetes.transport.forward import PodPorts
from pytest_isolate.errors import EngineError
from pytest_isolate.system import replace_file

_LOCK = "relay.lock"
_BACKLOG = 512
_TICK_S = 1.0
_EMPTY_S = 60.0
# A tunnel costs the API server and the pod's node a connection; to dial takes tens of milliseconds.
_IDLE_S = 60.0
# With more tunnels than this, those that carry nothing go at once.
_MANY_TUNNELS = 64
# One request for all pods of the run. Who ends a pod in order says so with an order; this is for runs that were killed.
_ASK_EVERY_S = 15.0
# A cluster that was away for so long does not come back: it was deleted together with its pods.
_LOST_AFTER_S = 600.0


class Listener:
    """A port that is listened at, and the pod that it leads to."""

    def __init__(self, relay: Relay, target: Listening) -> None:
        self._relay = relay
        self.target = target
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; OSError where the port is taken."""
        family = socket.AF_INET6 if ":" in self.target.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            # The run holds the port by a socket that is bound in the same way, and does not listen.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.target.host, self.target.host_port))
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                partial(Carried, self._open, self._note), sock=sock, backlog=_BACKLOG
            )
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        if self._server:
            self._server.close()

    async def _open(self, carried: Carried) -> Channel:
        target = self.target = msgspec.structs.replace(self.target, error="")
        try:
            return await self._relay.ports_of(target.pod).open_channel(target.port, carried)
        except ObjectMissing:
            self._relay.drop(target.pod)
            raise

    def _note(self, error: Exception) -> None:
        self.target = msgspec.structs.replace(self.target, error=str(error))


class Relay:
    """All listeners of a run. Its methods are called in the loop."""

    def __init__(self, folder: Path, client: ClusterClient, selector: str) -> None:
        self._folder = folder
        self._client = client
        self._selector = selector
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._ports: dict[str, PodPorts] = {}
        self._missing: set[str] = set()
        self._ended = asyncio.Event()

    async def run(self, orders: socket.socket) -> None:
        """Take orders until the end."""
        await self._restore()
        # Not start_unix_server: Python 3.13 looks for the socket's path, which was a way by a descriptor.
        server = await asyncio.start_server(self._serve, sock=orders)
        tasks = [asyncio.create_task(work) for work in (self._tend(), self._ask_again_and_again())]
        await self._ended.wait()
        for task in tasks:
            task.cancel()
        server.close()
        (self._folder / STATE).unlink(missing_ok=True)  # only one that was killed is to be started again
        for pod in {listener.target.pod for listener in self._listeners.values()}:
            self._close(pod)
        for ports in self._ports.values():
            ports.abort()

    def ports_of(self, pod: str) -> PodPorts:
        """The tunnels to a pod."""
        if pod not in self._ports:
            self._ports[pod] = PodPorts(self._client.dialer, self._client.pod_path(pod))
        return self._ports[pod]

    def drop(self, pod: str) -> None:
        """End the listeners of a pod, and its connections. Safe to repeat."""
        self._close(pod)
        self._save()

    def _close(self, pod: str) -> None:
        for key, listener in list(self._listeners.items()):
            if listener.target.pod == pod:
                listener.close()
                del self._listeners[key]
        if pod in self._ports:
            self._ports.pop(pod).close()

    # -- orders --------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line and not self._ended.is_set():  # else another relay is started for it
                answer = await self._obey(json.loads(line))
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
                await reader.read()  # of one that watches, until it has gone: an asker ends when it has its answer
        except OSError:
            pass  # the asker has gone
        finally:
            writer.close()

    async def _obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        match order["order"]:
            case "listen":
                return await self._listen(msgspec.convert({**order, "order": ""}, Listening, strict=False))
            case "drop":
                self.drop(order["pod"])
            case "list":
                return {"listening": [msgspec.to_builtins(each.target) for each in self._listeners.values()]}
            case "end":
                self._ended.set()
        return {}

    async def _listen(self, target: Listening) -> dict[str, Any]:
        key = (target.host, target.host_port)
        existing = self._listeners.get(key)
        if existing:
            existing.target = target  # another pod in place of the one before
            self._save()
            return {}
        listener = Listener(self, target)
        try:
            await listener.start()
        except OSError as error:
            return {"error": error.strerror or str(error), "is_taken": error.errno == errno.EADDRINUSE}
        self._listeners[key] = listener
        self._save()
        return {}

    # -- its own state -------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        new = self._folder / f"{STATE}.new"
        try:
            new.write_bytes(msgspec.json.encode([listener.target for listener in self._listeners.values()]))
            replace_file(new, self._folder / STATE)
        except FileNotFoundError:
            self._ended.set()  # the run has ended, and its folder is gone

    async def _restore(self) -> None:
        path = self._folder / STATE
        if path.exists():
            for target in msgspec.json.decode(path.read_bytes(), type=list[Listening]):
                await self._listen(target)

    async def _tend(self) -> None:
        loop = asyncio.get_running_loop()
        used_at = loop.time()
        while loop.time() - used_at < _EMPTY_S and (self._folder / SOCKET).exists():
            await asyncio.sleep(_TICK_S)
            if self._listeners:
                used_at = loop.time()
            idle_s = _IDLE_S if sum(ports.is_open for ports in self._ports.values()) <= _MANY_TUNNELS else _TICK_S
            for ports in self._ports.values():
                ports.close_idle(idle_s)
        self._ended.set()

    async def _ask_again_and_again(self) -> None:
        """Find out about pods that were removed by others; end where the cluster is gone."""
        loop = asyncio.get_running_loop()
        answered_at = loop.time()
        while self._selector and not self._ended.is_set():
            await asyncio.sleep(_ASK_EVERY_S)
            pods = {listener.target.pod for listener in self._listeners.values()}
            if not pods:
                answered_at = loop.time()
                continue
            try:
                found = await asyncio.to_thread(self._find_pods)
                answered_at = loop.time()
            except ApiError as error:
                if error.status == 403:
                    return  # a connection to a pod that is gone says so, too
                continue
            except EngineError:
                if loop.time() - answered_at > _LOST_AFTER_S:
                    self._ended.set()
                continue  # the server restarts
            # Twice: one that was made a moment ago may not be in the list yet.
            missing = pods - found
            for pod in missing & self._missing:
                self.drop(pod)
            self._missing = missing

    def _find_pods(self) -> set[str]:
        path = f"/api/v1/namespaces/{self._client.namespace}/pods"
        listed = self._client.get(path, {"labelSelector": self._selector, "resourceVersion": "0"})
        return {pod["metadata"]["name"] for pod in listed.get("items", ())}


def main(folder: Path) -> None:
    """Listen for orders in a folder, say so on standard output, and leave a process to it."""
    if sys.platform == "win32":
        raise EngineError("the relay to the pods did not start", found="it needs Linux or macOS")
    import fcntl

    given = json.load(sys.stdin)
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the last process that has it open
    except BlockingIOError:
        print(READY)  # another relay is
        return
    (folder / SOCKET).unlink(missing_ok=True)  # of one that was killed
    orders = socket.socket(socket.AF_UNIX)
    os.umask(0o077)
    with short_path(folder / SOCKET) as path:
        orders.bind(path)
    orders.listen(_BACKLOG)
    if os.fork():
        print(READY)
        return
    _detach(folder)
    asyncio.run(_run(folder, orders, given, lock))


async def _run(folder: Path, orders: socket.socket, given: Mapping[str, str], lock: int) -> None:
    client = ClusterClient(Cluster.from_text(given["cluster"]))
    try:
        await Relay(folder, client, given["selector"]).run(orders)
    finally:
        # In this order, and before all that may take its time: the next one listens at the same place.
        (folder / SOCKET).unlink(missing_ok=True)
        os.close(lock)
        client.close()


def _detach(folder: Path) -> None:
    """Keep nothing of the process that started this one: no folder busy, no pipe open."""
    os.chdir(os.path.abspath(os.sep))
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor, target in ((0, nowhere), (1, nowhere), (2, log)):
        os.dup2(target, descriptor)
    os.close(nowhere)
    os.close(log)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
