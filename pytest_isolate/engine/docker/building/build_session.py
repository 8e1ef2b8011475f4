"""A session of a build: a connection that this side opens, and on which the engine calls for files and secrets.

Protocol: moby/moby, POST /session; moby/buildkit, session/session.go.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path

from pytest_isolate.engine.docker.building.grpc import GrpcServer, Open
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.errors import EngineError

_ENDS_WITHIN_S = 10
_HEADER = "X-Docker-Expose-Session-"


class BuildSession:
    """Serves a build while it lasts, in a thread of its own. `session_id` is what the build names it by."""

    def __init__(self, engine: Http, what: str, context: Path, methods: Mapping[str, Open]) -> None:
        self.session_id = secrets.token_hex(16)
        # The engine keeps what it was sent of a folder, for the next build from a folder with the same key.
        key = hashlib.sha256(str(context).encode("utf-8", "surrogateescape")).hexdigest()
        headers = [(f"{_HEADER}Uuid", self.session_id), (f"{_HEADER}Name", "pytest-isolate")]
        headers += [(f"{_HEADER}Sharedkey", key), *((f"{_HEADER}Grpc-Method", path) for path in methods)]
        self._line = engine.hijack(what, "/session", headers=headers, upgrade="h2c")
        self._server = GrpcServer(methods)
        self._thread = threading.Thread(target=self._serve, name="isolate-build-session", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._line.send(self._server.begin())
            while not self._server.is_over and (received := self._line.receive(None)):
                if answer := self._server.receive(received):
                    self._line.send(answer)
        except EngineError:
            pass  # the line is closed, or broken: then so is the build, which says why

    def close(self) -> None:
        """End it. Safe to repeat."""
        self._line.close()
        self._thread.join(_ENDS_WITHIN_S)
