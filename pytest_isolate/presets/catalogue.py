"""All presets by name, for TOML's `use`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_isolate.model.declaration import Preset
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

_ALL = (apache, mariadb, memcached, mosquitto, mysql, nats, nginx, openldap, postgres, rabbitmq, redis, valkey)
PRESETS: Mapping[str, Callable[[], Preset]] = {preset.__name__: preset for preset in _ALL}
