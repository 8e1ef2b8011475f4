"""Orders to the relay of a run, the process by which ports of this host lead to pods; it is started with the first."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.errors import EngineError, PortTaken

SOCKET, STATE, LOG = "relay.sock", "relay.json", "relay.log"
READY = "ready"
# Python starts within a second, on a busy machine within several.
_STARTS_WITHIN_S = 60
_ANSWERS_WITHIN_S = 30
# One that just begins, or ends, is in the way of the next.
_TRIES = 3
# Of the path of a Unix socket: 108 bytes on Linux, 104 on macOS, one of them for the end.
_MOST_PATH_BYTES = 103


class Listening(Struct, frozen=True, kw_only=True):
    """A port of this host that leads to a port of a pod; `error` is why its last connection failed, if that did."""

    host: str
    host_port: int
    pod: str
    port: int
    error: str = ""


class RelayOrders:
    """The relay of the run that this folder belongs to. Safe to use from several threads and processes."""

    def __init__(self, folder: Path, cluster: Cluster, selector: str = "") -> None:
        self._folder = folder
        self._cluster = cluster
        self._selector = selector  # of labels that the run's pods have: listeners of pods that are gone, go

    def listen(self, host: str, host_port: int, pod: str, port: int) -> None:
        """Let a port of this host lead to a pod's port, and no longer elsewhere; PortTaken where another has it."""
        order = {"order": "listen", "host": host, "host_port": host_port, "pod": pod, "port": port}
        answer = self._ask(order)
        for _ in range(_TRIES):
            if answer is None:
                self._start()
                answer = self._ask(order)
        reason = "it has ended" if answer is None else answer.get("error")
        if reason:
            what = f"port {host}:{host_port} cannot lead to port {port} of pod {pod}"
            raise (PortTaken if answer and answer.get("is_taken") else EngineError)(what, found=reason)

    def drop(self, pod: str) -> None:
        """End the listeners of a pod, and its connections. Safe to repeat."""
        self._ask({"order": "drop", "pod": pod})

    def listening(self) -> list[Listening]:
        """The ports that lead to pods now. A relay that was killed is started again first."""
        answer = self._ask({"order": "list"})
        if answer is None and self.revive():
            answer = self._ask({"order": "list"})
        return [Listening(**found) for found in (answer or {}).get("listening", ())]

    def revive(self) -> bool:
        """Start a relay again that was killed, with its ports; False where there is nothing for it to do."""
        try:
            has_ports = bool(json.loads((self._folder / STATE).read_bytes()))
        except (FileNotFoundError, ValueError):
            return False
        if has_ports:
            self._start()
        return has_ports

    def watch(self) -> socket.socket | None:
        """A connection that ends with the relay; None where there is none."""
        if sys.platform == "win32":
            return None
        sock = socket.socket(socket.AF_UNIX)
        try:
            self._send(sock, {"order": "watch"})
            sock.settimeout(None)
        except OSError:
            sock.close()
            return None
        return sock

    def end(self) -> None:
        """End the relay, and all that it carries. Safe to repeat."""
        self._ask({"order": "end"})

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any] | None:
        """The relay's answer; None where there is no relay."""
        if sys.platform == "win32":
            return None
        sock = socket.socket(socket.AF_UNIX)
        with sock:
            try:
                self._send(sock, order)
                with sock.makefile("rb") as answers:
                    line = answers.readline()
            except TimeoutError as error:
                found = f"no answer to {order['order']!r} within {_ANSWERS_WITHIN_S} s"
                raise EngineError("the relay to the pods hangs", found=found, do=f"see {self._folder / LOG}") from error
            except OSError:
                return None
        if not line:
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _send(self, sock: socket.socket, order: Mapping[str, Any]) -> None:
        sock.settimeout(_ANSWERS_WITHIN_S)
        with short_path(self._folder / SOCKET) as path:
            sock.connect(path)
        sock.sendall(json.dumps(order).encode() + b"\n")

    def _start(self) -> None:
        what = "the relay to the pods did not start"
        if sys.platform == "win32":
            raise EngineError(what, found="it needs Linux or macOS", do="run pytest in WSL2, or inside the cluster")
        given = json.dumps({"cluster": self._cluster.as_text(), "selector": self._selector})
        package = Path(__file__).parents[3]
        path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "pytest_isolate.engine.kubernetes.relay", str(self._folder)]
        try:
            ended = subprocess.run(  # noqa: S603  # our own interpreter and module
                command,
                input=given,
                cwd=self._folder,  # a module of the user's own folder may have the name of one of Python's
                env={**os.environ, "PYTHONPATH": path},
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_STARTS_WITHIN_S,
                start_new_session=True,  # Ctrl-C is for pytest
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(what, tried=" ".join(command), found=str(error)) from error
        if READY not in ended.stdout.split():
            found = [f"it ended with code {ended.returncode}", *ended.stderr.strip().splitlines()[-3:]]
            raise EngineError(what, tried=" ".join(command), found=found)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A path for a Unix socket, whose length has a limit: by way of its folder where it is too long."""
    if len(os.fsencode(path)) <= _MOST_PATH_BYTES:
        yield str(path)
        return
    if not os.path.isdir("/proc/self/fd"):
        raise OSError(None, f"the path is too long for a socket: {path}")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
