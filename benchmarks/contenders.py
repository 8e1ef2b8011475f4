"""Who is measured: this plugin, its peers from PyPI, and the limit; where each is installed and how it is called."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.environments import (
    ROOT,
    copy_project,
    ensure_venv,
    ensure_venv_with_plugin,
    version_of,
)
from benchmarks.measuring import Contender
from scripts.docker_compose import ensure_compose, find_compose, is_old

OURS, LIMIT, INITIALISED = "pytest-isolate", "limit", "limit, initialised images"
BARE = "pytest alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A library as it is installed, and what its own documentation lets a project set in the environment."""

    name: str
    requirements: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by workload


# Its clean-up helper needs an image that not every machine can pull; to start none only makes it faster. It asks every
# 50 ms, as often as it can be told to without a loop that never rests; its time-out is the product of the two numbers.
_TESTCONTAINERS = {"TESTCONTAINERS_RYUK_DISABLED": "true", "TC_POOLING_INTERVAL": "0.05", "TC_MAX_TRIES": "2400"}

PEERS = (
    Peer(name="testcontainers", requirements=["testcontainers[redis]"], env=_TESTCONTAINERS),
    Peer(
        name="pytest-testcontainers",
        requirements=["pytest-testcontainers", "testcontainers[redis]"],
        env=_TESTCONTAINERS,
    ),
    Peer(name="pytest-docker-tools", requirements=["pytest-docker-tools"]),
    Peer(name="pytest-databases", requirements=["pytest-databases[postgres,redis]", "psycopg[binary]"]),
    Peer(name="pytest-docker", requirements=["pytest-docker"], options={"w3": ["--container-scope=function"]}),
)

# A compose file names everything; these are what a workload's tests need, with what that needs.
_COMPOSE_SERVICES = {"w1": "auth memo", "w2": "auth worker web", "w3": "db", "w4": "auth memo", "w5": ""}


def build_ours(
    name: str, workload: str, env: Mapping[str, str], *options: str, project: str = "services/pytest-isolate"
) -> Contender:
    """This plugin with the tests of a workload."""
    folder = ensure_venv_with_plugin("plugin", "pytest") if not _is_parallel(options) else _ours_parallel()
    place = _place(project, workload) if project.startswith("services/") else copy_project(project)
    return Contender(name=name, argv=[str(folder / "pytest"), "--isolate", *options], folder=place, env=env)


def build_peers(workload: str, env: Mapping[str, str], *options: str) -> list[Contender]:
    """Every peer that can be had, with the tests of a workload."""
    ensure_compose()
    return [_build_peer(peer, workload, env, options) for peer in find_peers()]


def build_limit(name: str, workload: str, env: Mapping[str, str], *options: str) -> Contender:
    """The bare program, which says itself how long it took."""
    argv = [sys.executable, "-m", "benchmarks.limit", workload, *options]
    return Contender(name=name, argv=argv, folder=ROOT, env=env, reports_seconds=True)


def build_bare(*options: str) -> Contender:
    """pytest and one test that does nothing."""
    commands = ensure_venv("bare-xdist", "pytest", "pytest-xdist") if options else ensure_venv("bare", "pytest")
    return Contender(name=BARE, argv=[str(commands / "pytest"), *options], folder=copy_project("plain"))


def find_peers() -> list[Peer]:
    return [peer for peer in PEERS if peer.name != "pytest-docker" or find_compose()]


def describe_peers() -> str:
    """Their versions, and who is missing."""
    known = [f"{peer.name} {version_of(_venv(peer), peer.name)}" for peer in find_peers()]
    compose = find_compose()
    end = (
        f"pytest-docker runs Docker Compose {compose[1]}{', slower than version 2' * is_old(compose[1])}."
        if compose
        else "pytest-docker is left out: Docker Compose is not installed on this machine."
    )
    return f"{', '.join(known)}. {end}"


def _build_peer(peer: Peer, workload: str, env: Mapping[str, str], options: Sequence[str]) -> Contender:
    commands = _venv(peer, *(["pytest-xdist"] if _is_parallel(options) else []))
    compose = find_compose()
    wanted = {"COMPOSE": compose[0], "COMPOSE_SERVICES": _COMPOSE_SERVICES[workload]} if compose else {}
    return Contender(
        name=peer.name,
        argv=[str(commands / "pytest"), *peer.options.get(workload, ()), *options],
        folder=_place(f"services/{peer.name}", workload),
        env={**env, **peer.env, **wanted},
        may_fail=True,
    )


def _venv(peer: Peer, *more: str) -> Path:
    return ensure_venv("-".join(["peer", peer.name, *more]), "pytest", *peer.requirements, *more)


def _ours_parallel() -> Path:
    return ensure_venv_with_plugin("plugin-xdist", "pytest", "pytest-xdist")


def _is_parallel(options: Sequence[str]) -> bool:
    return "-n" in options


def _place(project: str, workload: str) -> Path:
    """A copy of a contender's project with the tests of a workload, which are the same for all."""
    folder = copy_project(project, f"{project}-{workload}")
    shared = ROOT / "benchmarks/projects" / project / ".."
    for file in ("clients.py", "pytest.ini", f"test_{workload}.py"):
        shutil.copy(shared / file, folder)
    return folder
