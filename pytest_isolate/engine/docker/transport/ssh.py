"""Engines behind ssh: a connection is an ssh process that runs `docker system dial-stdio` over there.

The ssh command is used, not a library: it knows the user's keys, agent, known hosts, aliases and jump hosts.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import tempfile
from typing import IO
from urllib.parse import urlsplit

from msgspec import Struct

from pytest_isolate.engine.docker.transport.carrier import TunnelledConnection

_CONNECT_S = 10
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

    It asks nobody for a passphrase: there may be no terminal, and pytest would seem to hang.
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
            text=True,
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


class SshConnection(TunnelledConnection):
    """HTTP over an ssh process of its own."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._login = parse_login(address)
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def connect(self) -> None:
        """Start the process, and talk to it."""
        ours, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603  # without a shell
                    dial_command(self._login),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._said,
                    # Ctrl-C is for pytest, which needs the engine to clean up.
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                self._said.close()
                raise SshFailed(f"ssh could not be run: {error.strerror}") from error
        ours.settimeout(self.timeout)
        self.sock = ours

    def explain(self) -> SshFailed | None:
        """Reason of its end; None where it has not ended, or did not say."""
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
        """Close it, and see the process off. Safe to repeat."""
        self.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        if self._said:
            self._said.close()
