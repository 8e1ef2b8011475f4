"""Facts about an engine for `pytest-isolate doctor`, which decides on them elsewhere."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from typing import Any

from pytest_isolate.engine.command_api import Attempt, EngineReport, SocketFacts
from pytest_isolate.engine.docker.engine import DockerEngine
from pytest_isolate.engine.docker.frames import moment
from pytest_isolate.engine.docker.transport.client import Http, open_candidate, why_no_engine
from pytest_isolate.engine.docker.transport.discovery import (
    Candidate,
    candidates_here,
    why_no_address,
)
from pytest_isolate.errors import EngineError
from pytest_isolate.system import group_name, user_name

_UNIX = "unix://"
# Products that give their names for that of the operating system.
_PRODUCTS = ("Docker Desktop", "OrbStack")


def try_candidates(env: Mapping[str, str]) -> tuple[tuple[Attempt, ...], EngineReport | None]:
    """Every address up to the first where an engine answers, and that engine."""
    attempts: list[Attempt] = []
    for candidate in candidates_here(env):
        client = open_candidate(candidate, env)
        answer = why_no_address(candidate.address) or why_no_engine(client)
        found: EngineReport | None = None
        if not answer:
            try:
                found = _examine(client, candidate, time.time)
            except EngineError as error:
                answer = f"{error.what}: {'; '.join(error.found)}"
        client.close()
        at, named_by = candidate.address, candidate.named_by
        attempts.append(Attempt(address=at, named_by=named_by, answer=answer, socket=read_socket(at)))
        if found:
            return tuple(attempts), found
    return tuple(attempts), None


def read_socket(address: str) -> SocketFacts | None:
    """The socket at an address of this host; None where there is none to be seen."""
    path = address.removeprefix(_UNIX)
    if path == address:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return SocketFacts(
        path=path,
        owner=user_name(found.st_uid),
        group=group_name(found.st_gid),
        mode=f"{stat.S_IMODE(found.st_mode):o}",
        may_use=os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids),
    )


def _examine(client: Http, candidate: Candidate, now: Callable[[], float]) -> EngineReport:
    engine, version = DockerEngine(client), client.version()
    facts, asked = engine.facts(), now()
    info = client.ask("the engine did not tell of itself", "GET", "/info").json()
    answered = now()
    told = moment(str(info.get("SystemTime", "")))
    is_rootless = bool(info.get("Rootless")) or any("rootless" in o for o in info.get("SecurityOptions") or ())
    # Without root it limits nothing on the first version of control groups, although Podman says so of the kernel.
    can_limit = not is_rootless or str(info.get("CgroupVersion", "")) != "1"
    return EngineReport(
        name=facts.name,
        version=facts.version,
        api=str(version.get("ApiVersion", "")),
        address=facts.address,
        named_by=candidate.named_by,
        is_local=facts.is_local,
        data_root=str(info.get("DockerRootDir", "")),
        driver=str(info.get("Driver", "")),
        is_rootless=is_rootless,
        limits_memory=bool(info.get("MemoryLimit", True)) and can_limit,
        limits_processes=bool(info.get("PidsLimit", True)) and can_limit,
        subnets=tuple(engine.used_subnets()),
        # Empty where the engine has its own.
        pools=tuple((str(p["Base"]), int(p["Size"])) for p in info.get("DefaultAddressPools") or ()),
        clock_ahead_s=told - (asked + answered) / 2 if told else 0.0,
        clock_within_s=(answered - asked) / 2,
        host=facts.host,
        publish_on=facts.publish_on,
        virtual_machine=name_machine(info) if facts.is_forwarded else "",
        memory_bytes=int(info.get("MemTotal", 0)),
        advice=engine.commands.doctor_advice(),
    )


def name_machine(info: Mapping[str, Any]) -> str:
    """Name of the virtual machine that an engine describes: its product's, or its own and its system's."""
    system, host = str(info.get("OperatingSystem", "")), str(info.get("Name", ""))
    if system in _PRODUCTS:
        return f"{system}'s virtual machine"
    return " ".join(filter(None, ("the virtual machine", host, f"({system})" if system else "")))
