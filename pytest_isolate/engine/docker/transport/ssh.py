"""Engines behind ssh: a connection is an ssh process that runs `docker system dial-stdio` over there.

The ssh command is used, not a library: it knows the user's keys, agent, known hosts, aliases and jump hosts.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import tempfile
from contextlib import suppress
from typing import IO
from urllib.parse import urlsplit

from msgspec import Struct

from pytest_isolate.engine.docker.transport.carrier import TunnelledConnection, open_pumped
from pytest_isolate.system import SYSTEM, System

_CONNECT_S = 10
_PIECE_BYTES = 1 << 16
_ENDED_WITHIN_S = 2
# The last lines say what is wrong; what a server greets with comes before.
_TOLD_LINES = 3


class Login(Struct, frozen=True, kw_only=True):
    """Parts of an address of ssh://. `path` is the engine's socket over there, empty for the usual one."""

    host: str
    user: str = ""
    port: int | None = None
    path: str = ""


class SshFailed(OSError):
    """Message of ssh, or of docker on the other host."""


def parse_login(address: str) -> Login:
    """Parts of an address; ValueError where it is none."""
    parts = urlsplit(address)
    if parts.scheme != "ssh" or not parts.hostname:
        raise ValueError("not an address such as ssh://user@host")
    if parts.password:
        raise ValueError("ssh takes no password from an address: use a key")
    # urlsplit has the name in small letters, and a name in the user's ssh configuration may have others.
    host = parts.netloc.rpartition("@")[2].partition(":")[0] if ":" not in parts.hostname else parts.hostname
    return Login(host=host, user=parts.username or "", port=parts.port, path=parts.path.rstrip("/"))


def dial_command(login: Login) -> list[str]:
    """The command whose input and output are a connection to the engine, as the docker command has it.

    It does not ask for a passphrase: there may be no terminal, and pytest would seem to hang.
    """
    socket_over_there = ["--host", shlex.quote(f"unix://{login.path}")] if login.path else []
    options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_S}"]
    return ["ssh", *options, *_where(login), "docker", *socket_over_there, "system", "dial-stdio"]


def find_host(login: Login) -> str:
    """The host that ssh will connect to, for its name may be one of the user's own; as it is where ssh does not say."""
    try:
        said = subprocess.run(  # noqa: S603  # without a shell
            ["ssh", "-G", *_where(login)],  # noqa: S607  # the user's own ssh
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_CONNECT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return login.host
    settings = dict(line.partition(" ")[::2] for line in said.splitlines())
    return settings.get("hostname") or login.host


def _where(login: Login) -> list[str]:
    user = ["-l", login.user] if login.user else []
    port = ["-p", str(login.port)] if login.port else []
    return [*user, *port, "--", login.host]


class _Pipes:
    """The input and output of ssh."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        self._process, self._input, self._output = process, process.stdin, process.stdout

    def read(self) -> bytes:
        return os.read(self._output.fileno(), _PIECE_BYTES)

    def write(self, content: bytes) -> None:
        self._input.write(content)
        self._input.flush()

    def end_input(self) -> None:
        self._input.close()

    def close(self) -> None:
        self._process.kill()
        with suppress(OSError):  # what was not sent any more
            self._input.close()
        self._output.close()


class SshConnection(TunnelledConnection):
    """HTTP over an ssh process of its own."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._login = parse_login(address)
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def connect(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        try:
            # Windows takes no socket for the input or output of a program.
            self.sock = self._connect_by_pipes() if SYSTEM is System.WINDOWS else self._connect_by_socket()
        except OSError as error:
            self._said.close()
            raise SshFailed(f"ssh could not be run: {error.strerror}") from error
        self.sock.settimeout(self.timeout)

    def _connect_by_socket(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = self._start(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        return ours

    def _connect_by_pipes(self) -> socket.socket:
        self._process = self._start(subprocess.PIPE)
        return open_pumped(_Pipes(self._process))

    def _start(self, both: int) -> subprocess.Popen[bytes]:
        # Ctrl-C is for pytest, which needs the engine to clean up.
        apart = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return subprocess.Popen(  # noqa: S603  # without a shell
            dial_command(self._login),
            stdin=both,
            stdout=both,
            stderr=self._said,
            start_new_session=True,
            creationflags=apart,
        )

    def explain(self) -> SshFailed | None:
        if not self._process or not self._said:
            return None
        try:
            code = self._process.wait(_ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            return None
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return SshFailed("; ".join(lines[-_TOLD_LINES:]) or f"ssh ended with code {code}")

    def end(self) -> None:
        self.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        if self._said:
            self._said.close()
