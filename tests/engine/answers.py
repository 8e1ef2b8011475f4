"""An engine of our own making, which answers what the guardian asks, and the guardian's program that asks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Answers(BaseHTTPRequestHandler):
    """As much of an engine as the guardian asks. `held` delays the answers to lists, `refusal` refuses them."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    let_go: threading.Event
    refuses: bool

    def do_GET(self) -> None:
        path = self.path.split("?")[0].split("/", 2)[-1]
        self.asked.append(path)
        status, body = 200, b"[]"
        if "version" in self.path:
            body = json.dumps({"Version": "27.0", "ApiVersion": "1.41", "Components": []}).encode()
        elif self.refuses:
            status, body = 400, b'{"message": "invalid filter"}'
        else:
            self.let_go.wait(120)
            body = b'{"Volumes": null}' if "volumes" in self.path else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve_answers() -> Iterator[Any]:
    """A server's handler class; `address` is where it listens."""
    handler: Any = type("TheseAnswers", (Answers,), {"asked": [], "let_go": threading.Event(), "refuses": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    handler.address = f"tcp://127.0.0.1:{server.server_port}"
    yield handler
    handler.let_go.set()
    server.shutdown()
    thread.join()
    server.server_close()


def start_guardian_program(address: str, *, pid: int, start_time: str) -> subprocess.Popen[str]:
    name = f"pytest-isolate-test-{os.urandom(8).hex()}"
    return subprocess.Popen(
        [sys.executable, "-m", "pytest_isolate.cli.guardian", name, "abcd", str(pid), start_time],
        env={**os.environ, "DOCKER_HOST": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
