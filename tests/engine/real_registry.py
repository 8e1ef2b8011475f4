"""Debian's docker-registry on a port of the loopback, where engines ask for no TLS; with a password."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
USER, PASSWORD = "reader", "sesame-9f2"
# crypt(3) with "$2b$04$": the registry takes nothing but bcrypt.
_HTPASSWD = f"{USER}:$2b$04$ci7/87o2R01RDTgfHF/iIemtzawB1Bm.C27OqfoBp8itJIVXhspWu\n"
_ANSWERS_WITHIN_S = 20


class Registry:
    """A running registry; what is pushed to it here is removed from the engine at once."""

    def __init__(self, address: str, client: Any) -> None:
        self.address = address
        self._client = client

    def login(self) -> dict[str, str]:
        return {"username": USER, "password": PASSWORD}

    def push(self, name: str, image: str | None = None, size_bytes: int = 1000) -> str:
        """The full name of an image that is here, and not on the engine: that one, or one of noise."""
        full = f"{self.address}/{name}"
        if image is None:
            repository, _, tag = full.rpartition(":")
            self._client.import_image_from_data(_noise(size_bytes), repository=repository, tag=tag)
        else:
            self._client.tag(image, full.rpartition(":")[0], full.rpartition(":")[2])
        for line in self._client.push(full, stream=True, decode=True, auth_config=self.login()):
            assert "error" not in line, line
        self.forget(full)
        return full

    def forget(self, *names: str) -> None:
        """Take names of images away from the engine."""
        for name in names:
            with suppress(Exception):
                self._client.remove_image(name)


@contextmanager
def open_real_registry(folder: Path, client: Any, *, is_open: bool = False) -> Iterator[Registry]:
    """A registry, which asks for a password unless it is open."""
    found = subprocess.run([ROOT / "scripts" / "registry"], check=False, capture_output=True, text=True)
    if found.returncode != 0:
        reason = f"no docker-registry: {found.stderr.strip()[-300:]}"
        (pytest.fail if os.environ.get("ISOLATE_REQUIRE_ENGINE") else pytest.skip)(reason)
    port = _free_port()
    (folder / "htpasswd").write_text(_HTPASSWD)
    config: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
    }
    if is_open:
        del config["auth"]
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([found.stdout.strip(), "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        _wait_for(port, process, folder / "log")
        yield Registry(f"127.0.0.1:{port}", client)
    finally:
        process.terminate()
        process.wait(10)


def write_login(folder: Path, address: str, password: str = PASSWORD) -> None:
    """What `docker login` writes."""
    auth = b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))


class Cutting:
    """A port that forwards to another one; as long as `may_pass` says no, it cuts what comes back after some bytes."""

    def __init__(self, target: str, cut_after: int, may_pass: Callable[[int], bool]) -> None:
        host, port = target.split(":")
        self._target = (host, int(port))
        self._cut_after = cut_after
        self._may_pass = may_pass
        self.cuts = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listening.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self._target)
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if is_answer and passed > self._cut_after and not self._may_pass(self.cuts):
                    self.cuts += 1
                    break
                sink.sendall(data)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@contextmanager
def open_breaking_registry() -> Iterator[str]:
    """The address of one whose connections all break in the middle of the first answer."""

    def break_off() -> None:
        with suppress(OSError):
            while True:
                client = listening.accept()[0]
                client.recv(4096)
                client.sendall(b"HTTP/1.1 200 OK\r\n")
                client.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=break_off)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _ANSWERS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/v2/")
            if connection.getresponse().status in (200, 401):
                return
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    pytest.fail(f"docker-registry does not answer: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _noise(size_bytes: int) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        entry = tarfile.TarInfo("noise")
        entry.size = size_bytes
        archive.addfile(entry, io.BytesIO(os.urandom(size_bytes)))
    return raw.getvalue()
