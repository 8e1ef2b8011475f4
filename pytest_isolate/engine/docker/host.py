"""Address of the ports that an engine publishes, seen from this process.

It may run on the engine's host, on another one, or in a container of the engine's, which has a network of its own. The
engine may run in a virtual machine of this host, whose forwarder brings the ports here.
"""

from __future__ import annotations

import platform
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from pytest_isolate.engine.api import PublishAddress
from pytest_isolate.engine.docker.frames import moment
from pytest_isolate.engine.docker.transport.connections import LOOPBACK_HOSTS, Endpoint
from pytest_isolate.engine.docker.transport.discovery import candidates_here
from pytest_isolate.errors import EngineError


class Machine(Struct, frozen=True, kw_only=True):
    """Bytes of memory, 0 where it is this machine; and how far its clock is ahead of this one's, in seconds."""

    memory_bytes: int = 0
    clock_offset_s: float = 0


HERE = Machine()
_MORE_ASKS = 3


def ask_machine(ask: Callable[[], Mapping[str, Any]], now: Callable[[], float] = time.time) -> Machine:
    """The engine's machine, as the engine describes it.

    A difference that the way there and back may explain counts as none. A clock that seems to be behind is asked for
    again: Docker from 25 on gives who asks meanwhile an answer that it began before (moby's pull request 45847).
    """
    machine = _ask_once(ask, now)
    for _ in range(_MORE_ASKS):
        if machine.clock_offset_s >= 0:
            break
        machine = max(machine, _ask_once(ask, now), key=lambda m: m.clock_offset_s)
    return machine


def _ask_once(ask: Callable[[], Mapping[str, Any]], now: Callable[[], float]) -> Machine:
    asked = now()
    told = ask()
    answered = now()
    said = moment(str(told.get("SystemTime", "")))
    ahead = said - (asked + answered) / 2 if said else 0.0
    is_certain = abs(ahead) > (answered - asked) / 2
    return Machine(memory_bytes=int(told.get("MemTotal", 0)), clock_offset_s=ahead if is_certain else 0.0)


EVERYWHERE = "0.0.0.0"  # noqa: S104  # of the engine's host, whose addresses are not known here
# Engines give each container these three files of its own, from a folder that is named by its id. On an engine's host
# they show elsewhere for a moment, while files are copied into a container.
_OWN_FILE = re.compile(r"([0-9a-f]{64})/(?:userdata/)?(hostname|hosts|resolv\.conf) /etc/\2 ")
_OWN_GROUP = re.compile(r"[/-]([0-9a-f]{64})(?:\.scope)?$", re.MULTILINE)
_SHORT_ID = re.compile(r"[0-9a-f]{12}")

Inspect = Callable[[str], Mapping[str, Any]]
"""A container as the engine describes it; EngineError where it has no such container."""

LOCAL = PublishAddress()
FORWARDED = PublishAddress(is_forwarded=True)
_DESKTOP = "Docker Desktop"
# The names of a kernel that is not known.
_NO_RELEASE = ("", "<unknown>")
# Engines of this host put their sockets here, those of virtual machines into homes.
_SYSTEM_SOCKETS = ("unix:///var/run/", "unix:///run/")


def shares_kernel(version: Mapping[str, Any], system: str = sys.platform, release: str = "") -> bool:
    """Tell by an engine's answer about itself that its containers run on the kernel of this process.

    Docker Desktop within WSL has the same kernel and another network, so it is told by its name.
    """
    if system != "linux" or str((version.get("Platform") or {}).get("Name", "")).startswith(_DESKTOP):
        return False
    own = release or platform.release()
    return version.get("KernelVersion", own) in (*_NO_RELEASE, own)


def find_publish_address(
    address: str,
    inspect: Inspect,
    own_ids: Callable[[], Sequence[str]] | None = None,
    *,
    is_same_kernel: bool = True,
) -> PublishAddress:
    """Address of the published ports of an engine. `own_ids` are ids that the container around us may have."""
    if address.startswith(("unix://", "npipe://")):
        on_the_host = PublishAddress(shares_files=True) if is_same_kernel else FORWARDED
        return _find_around(inspect, (own_ids or read_own_ids)(), on_the_host)
    host = _host_of(address)
    if host in LOOPBACK_HOSTS:
        return LOCAL if is_same_kernel else FORWARDED
    return PublishAddress(host=host, publish_on=EVERYWHERE, is_local=False)


def may_be_elsewhere(env: Mapping[str, str]) -> bool:
    """Tell, without asking an engine, that its containers may not run here with ports on 127.0.0.1."""
    address = _first_address(env)
    is_of_this_host = address.startswith(_SYSTEM_SOCKETS) and sys.platform == "linux"
    return not is_of_this_host or "microsoft" in platform.release().lower() or bool(read_own_ids())


def far_address(env: Mapping[str, str]) -> str:
    """The address of an engine that is named and not of this host; empty where none is."""
    address = _first_address(env)
    return "" if Endpoint(address).is_near else address


def _first_address(env: Mapping[str, str]) -> str:
    return next(candidates_here(env)).address


def read_own_ids() -> Sequence[str]:
    """Ids that the container around this process may have, likely ones first; none where nothing hints at one."""
    mounts, groups = _read("/proc/self/mountinfo"), _read("/proc/self/cgroup")
    return find_own_ids(mounts, groups, socket.gethostname() if Path("/.dockerenv").exists() else "")


def find_own_ids(mounts: str, groups: str, hostname: str) -> Sequence[str]:
    """The ids in what the kernel says of this process, and in the host name that an engine gives to a container."""
    found = [*(match[1] for match in _OWN_FILE.finditer(mounts)), *_OWN_GROUP.findall(groups)]
    found += [hostname] if _SHORT_ID.fullmatch(hostname) else []
    return list(dict.fromkeys(found))


def _find_around(inspect: Inspect, own_ids: Sequence[str], on_the_host: PublishAddress) -> PublishAddress:
    """On the engine's own host, or in a container. One that the engine does not know may have it within itself."""
    for own_id in own_ids:
        try:
            return _reach_from_within(inspect(own_id), inspect)
        except EngineError:
            continue
    return on_the_host


def _reach_from_within(container: Mapping[str, Any], inspect: Inspect) -> PublishAddress:
    mode = str(container.get("HostConfig", {}).get("NetworkMode", ""))
    if mode == "host":
        return LOCAL
    if mode.startswith("container:"):
        return _reach_from_within(inspect(mode.removeprefix("container:")), inspect)
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    # The engine's host, as the container's network sees it. Ports on its 127.0.0.1 do not answer there.
    gateway = next((str(network["Gateway"]) for network in networks.values() if network.get("Gateway")), "")
    return PublishAddress(host=gateway, publish_on=gateway or EVERYWHERE, is_local=False)


def _host_of(address: str) -> str:
    if not address.startswith("ssh://"):
        return urlsplit(address).hostname or ""
    from pytest_isolate.engine.docker.transport.ssh import find_host, parse_login  # rarely needed

    return find_host(parse_login(address))


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
