"""Ryuk, the clean-up container of testcontainers, beside the guardian: for engines on other hosts, if asked for.

It runs on the engine's host and removes what carries the run's label when its last connection is closed: also when this
host has gone, with the guardian on it.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping

from pytest_isolate.engine.api import ContainerRequest, Engine, PortBinding, PublishAddress
from pytest_isolate.errors import EngineError, PortTaken
from pytest_isolate.model.identity import LABEL_RUN, Run
from pytest_isolate.running.network.ports import pick_ports
from pytest_isolate.sharing.board import Board

# The names that testcontainers has for these settings, and its defaults (testcontainers 4.15, core/config.py).
_IMAGE = ("RYUK_CONTAINER_IMAGE", "testcontainers/ryuk:0.8.1")
_PATIENCE = ("RYUK_RECONNECTION_TIMEOUT", "10s")
_SOCKET = ("TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE", "/var/run/docker.sock")
_PORT = 8080
_RECORD = "ryuk"
_UP_WITHIN_S = 30.0
_PAUSE_S = 0.1
_PORT_TRIES = 5
_DO = "leave isolate_ryuk out: the guardian on this host cleans up without it"


class Ryuk:
    """The run's Ryuk, started by the first process that needs it; all processes connect to it."""

    def __init__(
        self,
        engine: Engine,
        run: Run,
        board: Board,
        reach: PublishAddress,
        hold: Callable[[list[int]], None],
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self._engine = engine
        self._run = run
        self._board = board
        self._reach = reach
        self._hold = hold
        self._env = env
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def require(self) -> None:
        """Return when Ryuk watches the run; EngineError when it does not answer."""
        with self._lock:
            if self._connection is None:
                self._connection = self._connect(self._find_or_start())
                # The guardian keeps the connection open until the run ends: this worker may end before.
                self._hold([self._connection.fileno()])

    def close(self) -> None:
        """Close this process's connection."""
        if self._connection:
            self._connection.close()

    def _find_or_start(self) -> int:
        with self._board.claim(_RECORD, lambda: None):
            record = self._board.read(_RECORD)
            port = int(record["port"]) if record else self._start()
            if record is None:
                self._board.publish(_RECORD, {"port": port})
            return port

    def _start(self) -> int:
        """Start a Ryuk and return its published port; another port is tried where one is in use."""
        image = self._env.get(*_IMAGE)
        if self._engine.find_image(image) is None:
            self._engine.pull_image(image, lambda _: None)
        for attempt in range(1, _PORT_TRIES + 1):
            port = pick_ports([_PORT], self._reach.host, self._reach.publish_on, random.Random()).by_inner[_PORT]
            container_id = self._engine.create_container(self._build_request(image, port))
            try:
                self._engine.start_container(container_id)
                return port
            except PortTaken:
                self._engine.remove_container(container_id)
                if attempt == _PORT_TRIES:
                    raise
        raise AssertionError("unreachable")

    def _build_request(self, image: str, port: int) -> ContainerRequest:
        """Build the request. Its run label differs from that of the run: Ryuk would remove itself first."""
        return ContainerRequest(
            name=self._run.resource_name("ryuk"),
            image=image,
            labels=self._run.labels() | {LABEL_RUN: f"{self._run.run_id}-ryuk"},
            env={_PATIENCE[0]: self._env.get(*_PATIENCE)},
            ports=(PortBinding(inner=_PORT, host_ip=self._reach.publish_on, host_port=port),),
            binds={self._env.get(*_SOCKET): "/var/run/docker.sock"},
            removes_itself=True,
        )

    def _connect(self, port: int) -> socket.socket:
        """Connect and have Ryuk watch the run; try again until it is up, EngineError where it is not up in time."""
        deadline = time.monotonic() + _UP_WITHIN_S
        while True:
            try:
                return self._register(port)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise EngineError(
                        "Ryuk, which is to clean up on the engine's host, does not answer",
                        tried=f"tcp {self._reach.host}:{port}, for {_UP_WITHIN_S:.0f} s",
                        found=str(error),
                        do=["see whether the port can be reached from here", _DO],
                    ) from error
                time.sleep(_PAUSE_S)

    def _register(self, port: int) -> socket.socket:
        connection = socket.create_connection((self._reach.host, port), timeout=_UP_WITHIN_S)
        try:
            connection.sendall(f"label={LABEL_RUN}={self._run.run_id}\n".encode())
            answer = connection.recv(16)
            if not answer.startswith(b"ACK"):
                raise ConnectionError(f"it answered {answer!r}")
        except BaseException:
            connection.close()
            raise
        return connection
