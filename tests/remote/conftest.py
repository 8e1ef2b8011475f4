"""Engines that are not simply the local socket, each brought up by containers on the one that is.

A second engine over TLS in a container of its own; this machine's engine through an ssh server on the loopback; and
this machine's engine seen from within a container that has its socket.
"""

from __future__ import annotations

import io
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from fakes.programs import IMAGE

import pytest_isolate

TESTS = Path(__file__).parent.parent
PACKAGE = Path(pytest_isolate.__file__).parent
SOCKET = "/var/run/docker.sock"
MACHINE = "pytest-isolate-tests/machine"
_UP_WITHIN_S = 120
# What an engine needs. Not --privileged: that asks for rights that a container which we may run in does not have.
RIGHTS = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN "
    "SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
)
OPEN = {"SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"], "MaskedPaths": [], "ReadonlyPaths": []}


Run = Callable[[Path, Sequence[str]], tuple[int, str]]


@dataclass(frozen=True)
class Place:
    """Where pytest runs, with which engine. `client` is the engine as Docker's own library sees it."""

    name: str
    client: Any
    pytest: Run

    def run(self, folder: Path, *args: str) -> tuple[int, str]:
        """pytest's exit code and its output."""
        code, output = self.pytest(folder, args)
        print(output)
        return code, output


class Machines:
    """Containers of these tests on this machine's engine; all are removed."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._made: list[str] = []

    def start(
        self,
        *command: str,
        image: str = MACHINE,
        env: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
        **host: Any,
    ) -> str:
        made = self.client.create_container(
            image,
            list(command),
            environment=dict(env or {}),
            name=f"isolate-remote-{secrets.token_hex(4)}",
            host_config={**self.client.create_host_config(**host), **(more or {})},
        )
        self._made.append(made["Id"])
        self.client.start(made["Id"])
        return str(made["Id"])

    def wait_for_log(self, container: str, text: str) -> None:
        deadline = time.monotonic() + _UP_WITHIN_S
        while text not in (log := self.client.logs(container).decode(errors="replace")):
            if time.monotonic() > deadline or not self.client.inspect_container(container)["State"]["Running"]:
                pytest.fail(f"{text!r} was not said:\n{log}")
            time.sleep(0.1)

    def read(self, container: str, path: str) -> bytes:
        """A file of a container."""
        pieces, _ = self.client.get_archive(container, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
            file = tar.extractfile(tar.getmembers()[0])
            assert file
            return file.read()

    def close(self) -> None:
        for container in reversed(self._made):
            self.client.remove_container(container, force=True, v=True)


@contextmanager
def open_machines(docker_client: Any) -> Iterator[Machines]:
    """Containers of these tests, which are removed at the end of the block."""
    if docker_client.base_url != "http+docker://localhost":
        pytest.skip("needs an engine at a socket of this machine")
    docker_client.timeout = 600
    for line in docker_client.build(path=str(TESTS / "remote" / "machine"), tag=MACHINE, rm=True, decode=True):
        if "error" in line:
            pytest.fail(line["error"])
    machines = Machines(docker_client)
    try:
        yield machines
    finally:
        machines.close()


@pytest.fixture(scope="session")
def machines(docker_client: Any) -> Iterator[Machines]:
    with open_machines(docker_client) as machines:
        yield machines


@pytest.fixture(scope="session")
def over_tls(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A second engine, in a container with a network of its own: nothing of it touches this machine's."""
    engine = machines.start(
        *("engine", IMAGE),
        more=OPEN,
        cap_add=RIGHTS.split(),
        device_cgroup_rules=["a *:* rwm"],
        binds={SOCKET: {"bind": "/around.sock", "mode": "ro"}},
        # Its images on a disk of their own: they cannot lie on a container's layers.
        mounts=[docker.types.Mount("/var/lib/docker", None, type="volume")],
    )
    machines.wait_for_log(engine, "this engine has all it needs")
    certificates = tmp_path_factory.mktemp("certificates")
    for theirs, ours in [("ca.pem", "ca.pem"), ("client.pem", "cert.pem"), ("client-key.pem", "key.pem")]:
        (certificates / ours).write_bytes(machines.read(engine, f"/certificates/{theirs}"))
    host = machines.client.inspect_container(engine)["NetworkSettings"]["IPAddress"]
    env = {"DOCKER_HOST": f"tcp://{host}:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates)}
    tls = docker.tls.TLSConfig(
        client_cert=(f"{certificates}/cert.pem", f"{certificates}/key.pem"),
        ca_cert=f"{certificates}/ca.pem",
        verify=True,
    )
    client = docker.APIClient(base_url=env["DOCKER_HOST"], tls=tls, version="1.41")
    client.trust_env = (
        False  # requests would trust what REQUESTS_CA_BUNDLE names in place of the engine's own authority
    )
    yield Place("TLS", client, _here(env))
    client.close()


@pytest.fixture(scope="session")
def over_ssh(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An ssh server on the loopback, with keys and a configuration that are nobody's but this test's."""
    folder = tmp_path_factory.mktemp("ssh")
    subprocess.run([_which("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = machines.start(
        *("ssh-server", str(port), (folder / "key.pub").read_text()),
        network_mode="host",
        binds={SOCKET: {"bind": SOCKET, "mode": "rw"}},
    )
    machines.wait_for_log(server, "Server listening")
    (folder / "known").write_bytes(f"[127.0.0.1]:{port} ".encode() + machines.read(server, "/run/host-key.pub"))
    # The host is known under a name of the user's own, as many are.
    settings = ["HostName 127.0.0.1", f"Port {port}", "User root", f"IdentityFile {folder}/key", "IdentitiesOnly yes"]
    settings += [f"UserKnownHostsFile {folder}/known", "GlobalKnownHostsFile none"]
    (folder / "config").write_text("Host Nearby\n  " + "\n  ".join(settings) + "\n")
    (folder / "ssh").write_text(f'#!/bin/sh\nexec {shlex.quote(_which("ssh"))} -F {folder}/config "$@"\n')
    (folder / "ssh").chmod(0o755)
    env = {"DOCKER_HOST": "ssh://Nearby", "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return Place("ssh", machines.client, _here({**env, "ISOLATE_SECOND_OPINION": f"unix://{SOCKET}"}))


@pytest.fixture(scope="session")
def from_within(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A container with the engine's socket: pytest runs there, beside the containers that it starts."""
    root = tmp_path_factory.getbasetemp()
    container = machines.start(
        *("sleep", "infinity"),
        binds={
            SOCKET: {"bind": SOCKET, "mode": "rw"},
            str(TESTS): {"bind": "/tests", "mode": "ro"},
            str(PACKAGE): {"bind": "/package/pytest_isolate", "mode": "ro"},
            str(root): {"bind": str(root), "mode": "rw"},
        },
    )
    env = {"PYTHONPATH": "/package:/tests", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(folder: Path, args: Sequence[str]) -> tuple[int, str]:
        words = [word.replace(str(TESTS), "/tests") for word in args]
        command = ["python3", "-m", "pytest", "-c", "/tests/remote/inside.ini", "--rootdir", str(folder), *words]
        made = machines.client.exec_create(container, command, environment=env, workdir=str(folder))
        output = machines.client.exec_start(made).decode(errors="replace")
        return machines.client.exec_inspect(made)["ExitCode"], output

    return Place("from within", machines.client, run)


def _here(engine: Mapping[str, str]) -> Run:
    def run(folder: Path, args: Sequence[str]) -> tuple[int, str]:
        path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *args]
        ended = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, **engine},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=500,
            check=False,
        )
        return ended.returncode, ended.stdout

    return run


def _which(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.fail(f"needs the command {name}", pytrace=False)
    return found
