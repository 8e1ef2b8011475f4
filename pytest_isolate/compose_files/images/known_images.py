"""Known images of servers, which are asked over the network in their own protocol before they count as ready."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.compose_files.nodes import Node, words_of
from pytest_isolate.compose_files.scalars import BadCommand, split_command
from pytest_isolate.model.probes import Tcp
from pytest_isolate.presets import mariadb, postgres, rabbitmq, redis


class KnownServer(Struct, frozen=True, kw_only=True):
    """Server of some images: its port, its probe, and the programs that a command may begin with to start it."""

    images: tuple[str, ...]
    port: int
    probe: Tcp
    programs: tuple[str, ...]


KNOWN = (
    KnownServer(
        images=("postgres", "postgresql", "postgis", "timescaledb", "timescaledb-ha", "pgvector"),
        port=5432,
        probe=postgres.READY,
        programs=("postgres", "docker-entrypoint.sh"),
    ),
    KnownServer(
        images=("mysql", "mysql-server", "mariadb", "percona"),
        port=3306,
        probe=mariadb.READY,
        programs=("mysqld", "mariadbd", "docker-entrypoint.sh"),
    ),
    KnownServer(images=("redis",), port=6379, probe=redis.READY, programs=("redis-server",)),
    KnownServer(images=("valkey",), port=6379, probe=redis.READY, programs=("valkey-server",)),
    KnownServer(images=("rabbitmq",), port=5672, probe=rabbitmq.READY, programs=("rabbitmq-server",)),
    # The image's temporary server listens on the loopback address only, so a connection from outside is enough.
    KnownServer(images=("mongo", "mongodb"), port=27017, probe=Tcp(), programs=("mongod",)),
)
# What may give a server another port than its usual one.
_ELSEWHERE = re.compile(
    r"--?(?:port|p)\b|[a-z_.-]*(?:port|listen)[a-z_.-]*\s*=|.*\.(?:conf|cnf)\b|--config", re.IGNORECASE
)
_ENCRYPTED = re.compile(r"--tls", re.IGNORECASE)
_PORT_VARIABLES = ("PGPORT", "MYSQL_TCP_PORT", "POSTGRESQL_PORT_NUMBER", "MYSQL_PORT_NUMBER", "REDIS_PORT_NUMBER")


def find_known(service: Node, ports: Sequence[int]) -> Tcp | None:
    """Return the probe of the known server that a service runs, with its port; None where it is not certain to run it.

    `ports` are those that the service publishes: where there are any, the server's is among them.
    """
    image, entrypoint = service.get("image"), service.get("entrypoint")
    if image is None or not isinstance(image.value, str) or entrypoint is not None or service.get("build") is not None:
        return None
    name = image.value.partition("@")[0].rpartition("/")[2].partition(":")[0]
    known = next((server for server in KNOWN if name in server.images), None)
    if known is None or (ports and known.port not in ports):
        return None
    words = _command(service, known)
    if words is None or any(map(_ENCRYPTED.match, words)):
        return None
    is_elsewhere = any(map(_ELSEWHERE.match, words)) or _has_port_variable(service)
    return None if is_elsewhere and not ports else replace(known.probe, port=known.port)


def _command(service: Node, known: KnownServer) -> list[str] | None:
    """The words of the command; None where it starts something else than the server."""
    command = service.get("command")
    if command is None or not command.value:
        return []
    try:
        words = split_command(command.value)[0] if isinstance(command.value, str) else words_of(command)
    except BadCommand:
        return None
    is_server = bool(words) and (words[0].startswith("-") or words[0] in known.programs)
    return words if is_server else None


def _has_port_variable(service: Node) -> bool:
    environment = service.get("environment")
    return environment is not None and any(environment.get(name) is not None for name in _PORT_VARIABLES)
