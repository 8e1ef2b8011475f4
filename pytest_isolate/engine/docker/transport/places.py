"""The usual places of engines' sockets and pipes on each system, and the virtual machine of Podman."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from shutil import which

from pytest_isolate.system import System

PIPE = "npipe://"
UNIX = "unix://"
# Docker Desktop and Rancher Desktop, or Docker's service; Docker Desktop beside another engine; Podman's first machine.
_PIPES = ("docker_engine", "dockerDesktopLinuxEngine", "podman-machine-default")
# Docker Desktop, OrbStack, Colima, Rancher Desktop. What was installed last may have linked /var/run/docker.sock.
_IN_HOME = (".docker/run/docker.sock", ".orbstack/run/docker.sock", ".colima/default/docker.sock", ".rd/docker.sock")
_ANSWERS_WITHIN_S = 10


def usual_addresses(env: Mapping[str, str], home: Path | None, user_id: int, system: System) -> list[str]:
    """Addresses to try where no engine is named, in their order."""
    if system is System.WINDOWS:
        return [f"{PIPE}//./pipe/{name}" for name in _PIPES]
    if system is System.MACOS:
        named = [f"{env['COLIMA_HOME']}/default/docker.sock"] if env.get("COLIMA_HOME") else []
        return [f"{UNIX}{p}" for p in ("/var/run/docker.sock", *named, *(f"{home}/{n}" for n in _IN_HOME if home))]
    runtime = env.get("XDG_RUNTIME_DIR") or f"/run/user/{user_id}"
    sockets = ("/var/run/docker.sock", f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock")
    return [f"{UNIX}{path}" for path in (*sockets, "/run/podman/podman.sock")]


def podman_machine_addresses(env: Mapping[str, str]) -> list[str]:
    """The socket or pipe of Podman's virtual machine; none where there is no Podman, or it has no machine."""
    program = which("podman", path=env.get("PATH"))
    if not program:
        return []
    try:
        said = subprocess.run(  # noqa: S603  # the user's own Podman, without a shell
            [program, "machine", "inspect"], capture_output=True, timeout=_ANSWERS_WITHIN_S, check=False
        ).stdout
        return read_podman_machines(said.decode(errors="replace"))
    except (OSError, subprocess.TimeoutExpired):
        return []


def read_podman_machines(text: str) -> list[str]:
    """The addresses in the answer of `podman machine inspect`; none where it is no such answer."""
    try:
        ways = [machine["ConnectionInfo"] for machine in json.loads(text)]
        pipes = [way["PodmanPipe"]["Path"].replace("\\", "/") for way in ways if way.get("PodmanPipe")]
        sockets = [way["PodmanSocket"]["Path"] for way in ways if way.get("PodmanSocket")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    # On Windows it names a socket beside the pipe, which Python cannot connect to.
    return [f"{PIPE}{path}" for path in pipes] or [f"{UNIX}{path}" for path in sockets]
