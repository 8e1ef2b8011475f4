"""WHICH engine: the only module that names kinds of engines. One more kind is a folder beside it, and lines here.

Each import waits until a function needs it: the guardian stays small while it waits, and runs that start nothing, and
those without --isolate, load no engine.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pytest_isolate.engine.api import Engine, Removing
    from pytest_isolate.engine.command_api import Attempt, CheckResult, CommandEngine, EngineReport
    from pytest_isolate.engine.docker.podman import OwnService as OwnService  # noqa: PLC0414  # callers name it too

ENGINE = "PYTEST_ISOLATE_ENGINE"
PUSH = "PYTEST_ISOLATE_PUSH"
_KUBERNETES = "kubernetes"


def connect(env: Mapping[str, str] = os.environ) -> Engine:
    """The first engine that answers; EngineUnreachable lists every address with its answer."""
    if is_cluster(env):
        return _open_cluster(env)
    from pytest_isolate.engine.docker.engine import DockerEngine
    from pytest_isolate.engine.docker.transport.client import open_http

    return DockerEngine(open_http(env))


def _open_cluster(env: Mapping[str, str]) -> CommandEngine:
    from pytest_isolate.engine.kubernetes.opened import find_loader, open_engine

    loader = None if env.get(PUSH) else find_loader(env)
    if not (env.get(PUSH) or loader):
        return open_engine(env)
    from pytest_isolate.engine.docker.engine import DockerPusher, LocalDocker  # images are built by Docker

    if loader:
        return open_engine(env, local=(LocalDocker(env), loader))
    return open_engine(env, DockerPusher(env[PUSH], env))


def is_cluster(env: Mapping[str, str]) -> bool:
    """True where services run in a cluster: one is named, or pytest runs in a pod where no other engine answers."""
    if env.get(ENGINE):
        return env[ENGINE] == _KUBERNETES
    if not env.get("KUBERNETES_SERVICE_HOST"):
        return False
    from pytest_isolate.engine.docker.diagnose import try_candidates
    from pytest_isolate.engine.kubernetes.kube_config import is_inside_cluster

    return is_inside_cluster(env) and try_candidates(env)[1] is None


@contextmanager
def connect_for_command(env: Mapping[str, str] = os.environ) -> Iterator[CommandEngine]:
    """The engine for a command, closed at the end of the block; one that has no daemon is started for it."""
    if is_cluster(env):
        cluster = _open_cluster(env)
        try:
            yield cluster
        finally:
            cluster.close()
        return
    from pytest_isolate.engine.docker.command_engine import DockerCommandEngine
    from pytest_isolate.engine.docker.transport.client import open_http

    with served(env) as found:
        engine = DockerCommandEngine(open_http(found))
        try:
            yield engine
        finally:
            engine.close()


def describe_rights(namespace: str, account: str, env: Mapping[str, str] = os.environ) -> str:
    """The Role that runs in a cluster need, as YAML; for the namespace of the environment unless one is given."""
    from pytest_isolate.engine.kubernetes.objects.role import build_role
    from pytest_isolate.engine.kubernetes.opened import find_cluster

    return build_role(namespace or find_cluster(env).namespace, account)


def open_null_engine() -> Engine:
    """An engine that is none, for runs whose every service runs already."""
    from pytest_isolate.engine.none import NullEngine

    return cast("Engine", NullEngine())


def may_be_elsewhere(env: Mapping[str, str]) -> bool:
    """Tell, without asking an engine, whether the ports that it publishes may not be on 127.0.0.1."""
    if is_cluster(env):
        return True
    from pytest_isolate.engine.docker.host import may_be_elsewhere

    return may_be_elsewhere(env)


def far_address(env: Mapping[str, str]) -> str:
    """The address of an engine that is named and not of this host; empty where none is."""
    if is_cluster(env):
        from pytest_isolate.engine.kubernetes.opened import find_cluster

        cluster = find_cluster(env)
        return f"{cluster.server} {cluster.namespace}"
    from pytest_isolate.engine.docker.host import far_address

    return far_address(env)


def try_candidates(env: Mapping[str, str]) -> tuple[tuple[Attempt, ...], EngineReport | None]:
    """Every address up to the first where an engine answers, and that engine."""
    from pytest_isolate.engine.docker.diagnose import try_candidates

    return try_candidates(env)


def check_cluster(env: Mapping[str, str]) -> list[CheckResult]:
    """Findings that `pytest-isolate doctor` tells of the cluster that the environment names."""
    from pytest_isolate.engine.kubernetes.cluster_checks import check_cluster

    return list(check_cluster(env))


# -- engines without a daemon ------------------------------------------------------------------------------------------


def find_own_service(env: Mapping[str, str], name: str) -> OwnService | None:
    """The service of this name that a run has to start; None where an engine listens, or is named, or cannot be."""
    if is_cluster(env):
        return None
    from pytest_isolate.engine.docker.podman import find_own_service

    return find_own_service(env, name)


def at(own: OwnService, env: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """An environment in which the engine is found at its own service."""
    return {**env, "DOCKER_HOST": own.address}


@contextmanager
def served(env: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """An environment in which an engine is found, with a service for the block where it needs one."""
    if is_cluster(env):
        yield env
        return
    from pytest_isolate.engine.docker.podman import find_own_service, serving

    own = find_own_service(env, secrets.token_hex(4))
    if own is None:
        yield env
        return
    with serving(own):
        yield at(own, env)


def serving(program: str, env: Mapping[str, str] = os.environ) -> AbstractContextManager[None]:
    """A service that serves during the block, at the address where the environment says that the engine is."""
    from pytest_isolate.engine.docker.podman import OwnService, serving

    return serving(OwnService(program=program, address=env["DOCKER_HOST"]))


def wait_for_own(own: OwnService, has_failed: Callable[[], bool]) -> None:
    """Return when a service that another process starts listens, or when that has failed."""
    from pytest_isolate.engine.docker.podman import wait_for_other

    wait_for_other(own.address, has_failed)


# -- the guardian, which asks one process for the engine and hands the answer to another -------------------------------


def find_for_removal(env: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """The engine that answers, as a text for `open_remover`; proved to understand the questions of clean-up."""
    if is_cluster(env):
        from pytest_isolate.engine.kubernetes import opened

        return f"{_KUBERNETES} {opened.find_for_removal(env, labels)}"
    from pytest_isolate.engine.docker.remover import Remover
    from pytest_isolate.engine.docker.transport.client import open_http

    client = open_http(env)
    Remover(client).check(labels)
    text = client.endpoint.as_text()
    client.close()
    return text


def open_remover(endpoint: str) -> Removing:
    """The engine at an endpoint, for clean-up only."""
    kind, _, cluster = endpoint.partition(" ")
    if kind == _KUBERNETES:
        from pytest_isolate.engine.kubernetes import opened

        return opened.open_remover(cluster)
    from pytest_isolate.engine.docker.remover import Remover
    from pytest_isolate.engine.docker.transport.client import Http
    from pytest_isolate.engine.docker.transport.connections import Endpoint

    return Remover(Http(Endpoint.from_text(endpoint)))
