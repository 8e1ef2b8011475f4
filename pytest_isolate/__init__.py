"""pytest-isolate: each service that tests need, in a container of its own, as a pytest fixture.

The public names are the ones in `__all__`. Each is imported when it is first used: pytest loads this package in every
run, and one that needs no service must not pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_isolate.engine.api import ExecResult as ExecResult
    from pytest_isolate.errors import IsolateError as IsolateError
    from pytest_isolate.errors import IsolateWarning as IsolateWarning
    from pytest_isolate.plugin.declaring.declare import compose as compose
    from pytest_isolate.plugin.declaring.declare import fresh as fresh
    from pytest_isolate.plugin.declaring.declare import member as member
    from pytest_isolate.plugin.declaring.declare import service as service
    from pytest_isolate.plugin.declaring.declare import stack as stack
    from pytest_isolate.plugin.declaring.declare import variants as variants
    from pytest_isolate.plugin.declaring.override import ServiceChanges as ServiceChanges
    from pytest_isolate.plugin.declaring.override import override as override
    from pytest_isolate.presets.apache import apache as apache
    from pytest_isolate.presets.mariadb import mariadb as mariadb
    from pytest_isolate.presets.memcached import memcached as memcached
    from pytest_isolate.presets.mosquitto import mosquitto as mosquitto
    from pytest_isolate.presets.mysql import mysql as mysql
    from pytest_isolate.presets.nats import nats as nats
    from pytest_isolate.presets.nginx import nginx as nginx
    from pytest_isolate.presets.openldap import openldap as openldap
    from pytest_isolate.presets.postgres import postgres as postgres
    from pytest_isolate.presets.probes import command as command
    from pytest_isolate.presets.probes import ended as ended
    from pytest_isolate.presets.probes import http as http
    from pytest_isolate.presets.probes import log as log
    from pytest_isolate.presets.probes import tcp as tcp
    from pytest_isolate.presets.rabbitmq import rabbitmq as rabbitmq
    from pytest_isolate.presets.redis import redis as redis
    from pytest_isolate.presets.valkey import valkey as valkey
    from pytest_isolate.running.containers.handle import Service as Service
    from pytest_isolate.running.containers.handle import Stack as Stack
    from pytest_isolate.running.data.fresh_service import FreshService as FreshService
    from pytest_isolate.running.testcontainers.module_service import ModuleService as ModuleService

_NAMES = {
    "engine.api": ("ExecResult",),
    "errors": ("IsolateError", "IsolateWarning"),
    "plugin.declaring.declare": ("compose", "fresh", "member", "service", "stack", "variants"),
    "plugin.declaring.override": ("ServiceChanges", "override"),
    "presets.probes": ("command", "ended", "http", "log", "tcp"),
    "running.containers.handle": ("Service", "Stack"),
    "running.data.fresh_service": ("FreshService",),
    "running.testcontainers.module_service": ("ModuleService",),
}
# Presets, each in a module of the same name.
_PRESETS = (
    "apache", "mariadb", "memcached", "mosquitto", "mysql", "nats", "nginx", "openldap", "postgres",
    "rabbitmq", "redis", "valkey",
)  # fmt: skip
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
_HOMES |= {name: f"presets.{name}" for name in _PRESETS}

__all__ = [
    "ExecResult", "FreshService", "IsolateError", "IsolateWarning", "ModuleService", "Service",
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
