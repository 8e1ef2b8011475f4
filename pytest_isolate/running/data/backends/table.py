"""The backends by the name that the key `copies` has for them. To add one, see docs/extending.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pytest_isolate.engine.api import Engine
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.data.backends import mariadb, postgres, redis
from pytest_isolate.running.data.backends.base import DataBackend, ExternalBackend, common_variables


class Backend(NamedTuple):
    """The running side of a CopyMethod of `model.fresh`, which declarations know."""

    open: Callable[[Engine, RunningInstance], DataBackend]
    environment: Callable[[RunningInstance, str], dict[str, str]]
    """The environment variables with which its own clients find a database."""
    open_external: Callable[[Engine, RunningInstance], ExternalBackend] | None = None
    """For servers that run already, where it works on them."""


BACKENDS: Mapping[str, Backend] = {
    "mariadb": Backend(mariadb.MariadbBackend, mariadb.environment),
    "postgres": Backend(postgres.PostgresBackend, postgres.environment, postgres.PostgresBackend),
    "redis": Backend(redis.RedisBackend, redis.environment),
}


def backend_of(running: RunningInstance) -> Backend:
    """The backend of a service whose data is copied."""
    assert running.spec.copies is not None
    return BACKENDS[running.spec.copies]


def environment_of(running: RunningInstance, database: str) -> dict[str, str]:
    """Environment variables for a command that is run in a service's container, for a database of it."""
    return (backend_of(running).environment if running.spec.copies else common_variables)(running, database)
