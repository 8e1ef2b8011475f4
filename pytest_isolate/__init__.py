"""pytest-isolate: each service that tests need, in a container of its own, as a pytest fixture.

The public names are the ones in `__all__`. Each is imported when it is first used: pytest loads this package in every
run, and one that needs no service must not pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_isolate.engine.api import BinaryExecResult, ExecResult
    from pytest_isolate.errors import IsolateError, IsolateWarning
    from pytest_isolate.model.probes import command, ended, http, log, tcp
    from pytest_isolate.plugin.declaring.declare import compose, fresh, member, service, stack, variants
    from pytest_isolate.plugin.declaring.override import ServiceChanges, override
    from pytest_isolate.presets.apache import apache
    from pytest_isolate.presets.mariadb import mariadb
    from pytest_isolate.presets.memcached import memcached
    from pytest_isolate.presets.mosquitto import mosquitto
    from pytest_isolate.presets.mysql import mysql
    from pytest_isolate.presets.nats import nats
    from pytest_isolate.presets.nginx import nginx
    from pytest_isolate.presets.openldap import openldap
    from pytest_isolate.presets.postgres import postgres
    from pytest_isolate.presets.rabbitmq import rabbitmq
    from pytest_isolate.presets.redis import redis
    from pytest_isolate.presets.valkey import valkey
    from pytest_isolate.running.containers.handle import Service, Stack
    from pytest_isolate.running.data.fresh_service import FreshService
    from pytest_isolate.running.testcontainers.modules import ModuleService

_NAMES = {
    "engine.api": ("BinaryExecResult", "ExecResult"),
    "errors": ("IsolateError", "IsolateWarning"),
    "model.probes": ("command", "ended", "http", "log", "tcp"),
    "plugin.declaring.declare": ("compose", "fresh", "member", "service", "stack", "variants"),
    "plugin.declaring.override": ("ServiceChanges", "override"),
    "running.containers.handle": ("Service", "Stack"),
    "running.data.fresh_service": ("FreshService",),
    "running.testcontainers.modules": ("ModuleService",),
}
# Presets, each in a module of the same name.
_PRESETS = (
    "apache", "mariadb", "memcached", "mosquitto", "mysql", "nats", "nginx", "openldap", "postgres",
    "rabbitmq", "redis", "valkey",
)  # fmt: skip
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
_HOMES |= {name: f"presets.{name}" for name in _PRESETS}

__all__ = [
    "BinaryExecResult", "ExecResult", "FreshService", "IsolateError", "IsolateWarning", "ModuleService", "Service",
    "ServiceChanges", "Stack", "apache", "command", "compose", "ended", "fresh", "http", "log", "mariadb",
    "member", "memcached", "mosquitto", "mysql", "nats", "nginx", "openldap", "override", "postgres",
    "rabbitmq", "redis", "service", "stack", "tcp", "valkey", "variants",
]  # fmt: skip


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> object:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{home}"), name)
