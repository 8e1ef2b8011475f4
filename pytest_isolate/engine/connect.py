"""WHICH engine: the only module that names kinds of engines. One more kind is a folder beside it, and lines here.

Each import waits until a function needs it: the guardian stays small while it waits, and runs that start nothing, and
those without --isolate, load no engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_isolate.engine.api import Engine, OwnService, Removing
    from pytest_isolate.engine.command_api import Attempt, CommandEngine, EngineReport


def connect(env: Mapping[str, str] = os.environ) -> Engine:
    """The first engine that answers; EngineUnreachable lists every address with its answer."""
    from pytest_isolate.engine.docker.engine import DockerEngine
    from pytest_isolate.engine.docker.transport.client import open_http

    return DockerEngine(open_http(env))


@contextmanager
def connect_for_command(env: Mapping[str, str] = os.environ) -> Iterator[CommandEngine]:
    """The engine for a command, closed at the end of the block; one that has no daemon is started for it."""
    from pytest_isolate.engine.docker.command_engine import DockerCommandEngine
    from pytest_isolate.engine.docker.transport.client import open_http

    with served(env) as found:
        engine = DockerCommandEngine(open_http(found))
        try:
            yield engine
        finally:
            engine.close()


def open_null_engine() -> Engine:
    """An engine that is none, for runs whose every service runs already."""
    from pytest_isolate.engine.none import open_null_engine

    return open_null_engine()


def may_be_elsewhere(env: Mapping[str, str]) -> bool:
    """Tell, without asking an engine, whether the ports that it publishes may not be on 127.0.0.1."""
    from pytest_isolate.engine.docker.host import may_be_elsewhere

    return may_be_elsewhere(env)


def far_address(env: Mapping[str, str]) -> str:
    """The address of an engine that is named and not of this host; empty where none is."""
    from pytest_isolate.engine.docker.host import far_address

    return far_address(env)


def try_candidates(env: Mapping[str, str]) -> tuple[tuple[Attempt, ...], EngineReport | None]:
    """Every address up to the first where an engine answers, and that engine."""
    from pytest_isolate.engine.docker.diagnose import try_candidates

    return try_candidates(env)


# -- engines without a daemon ------------------------------------------------------------------------------------------


def find_own_service(env: Mapping[str, str], name: str) -> OwnService | None:
    """The service of this name that a run has to start; None where an engine listens, or is named, or cannot be."""
    from pytest_isolate.engine.docker.podman import find_own_service

    return find_own_service(env, name)


def at(own: OwnService, env: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """An environment in which the engine is found at its own service."""
    return {**env, "DOCKER_HOST": own.address}


def served(env: Mapping[str, str]) -> AbstractContextManager[Mapping[str, str]]:
    """An environment in which an engine is found, with a service for the block where it needs one."""
    from pytest_isolate.engine.docker.podman import served

    return served(env)


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
    from pytest_isolate.engine.docker.remover import Remover
    from pytest_isolate.engine.docker.transport.client import open_http

    client = open_http(env)
    Remover(client).check(labels)
    text = client.endpoint.as_text()
    client.close()
    return text


def open_remover(endpoint: str) -> Removing:
    """The engine at an endpoint, for clean-up only."""
    from pytest_isolate.engine.docker.remover import Remover
    from pytest_isolate.engine.docker.transport.client import Http
    from pytest_isolate.engine.docker.transport.connections import Endpoint

    return Remover(Http(Endpoint.from_text(endpoint)))
