"""When services of Compose files count as ready: their own checks, and what has to answer over the network."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pytest_isolate.model.probes import Command, Ended, Ports, Tcp
from pytest_isolate.presets import mariadb, postgres, rabbitmq, redis
from unit.composing import one, specs

POSTGRES = replace(postgres.READY, port=5432)
MARIADB = replace(mariadb.READY, port=3306)
REDIS = replace(redis.READY, port=6379)
CHECK = "healthcheck: {test: [CMD, ok]}"
OK = Command(argv=("ok",))


@pytest.mark.parametrize(
    ("keys", "ready", "ports"),
    [
        ("image: postgres:16", (POSTGRES,), (5432,)),
        (f"image: postgres:16\n{CHECK}", (OK, POSTGRES), (5432,)),
        (f"image: docker.io/library/postgres@sha256:{'0' * 64}\n{CHECK}", (OK, POSTGRES), (5432,)),
        (f"image: postgis/postgis:16\nports: ['90', '1:5432']\n{CHECK}",
         (OK, POSTGRES, Ports(ports=(90, 5432))), (90, 5432)),
        (f"image: postgres\ncommand: postgres -c max_connections=9\n{CHECK}", (OK, POSTGRES), (5432,)),
        (f"image: postgres\ncommand: [-c, 'config_file=/x.conf']\nports: ['5432']\n{CHECK}", (OK, POSTGRES), (5432,)),
        ("image: postgres\nhealthcheck: {disable: true}", (POSTGRES,), (5432,)),
        ("image: mysql:8\nexpose: [3306, 33060]\ncommand: --skip-name-resolve", (MARIADB,), (3306, 33060)),
        (f"image: mariadb:11\n{CHECK}", (OK, MARIADB), (3306,)),
        (f"image: redis:7-alpine\ncommand: redis-server --requirepass x\n{CHECK}", (OK, REDIS), (6379,)),
        ("image: valkey/valkey:8", (REDIS,), (6379,)),
        ("image: rabbitmq:3-management\nports: ['15672', '5672']",
         (replace(rabbitmq.READY, port=5672), Ports(ports=(15672, 5672))), (15672, 5672)),
        ("image: mongo:7", (Tcp(port=27017),), (27017,)),
    ],
)  # fmt: skip
def test_known_images_are_asked_in_their_own_protocol_beside_their_check(
    keys: str, ready: tuple[object, ...], ports: tuple[int, ...]
) -> None:
    """The image's temporary server answers to a check inside the container, before the real one is there."""
    found = one(keys)
    assert (found.ready, found.ports) == (ready, ports)


@pytest.mark.parametrize(
    "keys",
    [
        "image: postgres\ncommand: pg_dump -h db",
        "image: postgres\ncommand: ['sh', '-c', 'psql']",
        "image: postgres\nentrypoint: [psql]",
        "image: postgres\ncommand: -p 5433",
        "image: postgres\ncommand: [-c, port=5433]",
        "image: postgres\nenvironment: {PGPORT: 5433}",
        "image: redis\ncommand: redis-server /etc/redis.conf",
        "image: redis\ncommand: redis-server --tls-port 6379 --port 0",
        "image: redis\ncommand: redis-cli ping",
        "image: me/postgres-exporter",
        "image: postgres\nbuild: .",
    ],
)
def test_what_is_not_certain_to_be_a_known_server_has_only_its_own_check(keys: str) -> None:
    files = {"Dockerfile": ""}
    assert (one(keys, files=files).ready, one(keys, files=files).ports) == ((), ())
    assert one(f"{keys}\n{CHECK}", files=files).ready == (OK,)


@pytest.mark.parametrize(
    ("keys", "ready"),
    [
        (f"ports: ['80', '53/udp']\nexpose: [90]\n{CHECK}", (OK,)),
        ("ports: ['80']", ()),
        ("ports: ['80']\nhealthcheck: {interval: 1s}", ()),
        ("expose: ['80']\nhealthcheck: {disable: true}", (Tcp(port=80),)),
        ("healthcheck: {disable: true}", (Ports(ports=()),)),
    ],
)
def test_a_check_stands_for_itself_and_its_absence_for_the_ports(keys: str, ready: tuple[object, ...]) -> None:
    """The ports that are asked after a check are those of any service (running.readiness)."""
    assert one(keys).ready == ready


def test_ports_that_may_be_those_of_guests_are_not_asked() -> None:
    text = f"services:\n  web: {{image: i, ports: ['80'], {CHECK}}}\n  app: {{image: j, network_mode: service:web}}\n"
    assert specs(text)["web"].ready == (OK, Ports(ports=()))


def test_other_ports_of_the_users_leave_the_own_check() -> None:
    text = f"services:\n  web: {{image: postgres, ports: ['5432'], {CHECK}}}\n  db: {{image: postgres}}\n"
    found = specs(text, changes={"web": {"port": 9}, "db": {"ports": [7, 8]}})
    assert (found["web"].ports, found["web"].ready) == ((9,), (OK,))
    assert (found["db"].ports, found["db"].ready) == ((7, 8), ())
    none = specs(text, changes={"web": {"ports": None}})
    assert (none["web"].ports, none["web"].ready) == ((), (OK,))
    both = specs(text, changes={"web": {"port": 9, "ready": Tcp()}})
    assert both["web"].ready == (Tcp(),)


def test_a_database_image_that_has_to_end_is_asked_for_its_end() -> None:
    text = """
    services:
      web: {image: i, depends_on: {load: {condition: service_completed_successfully}}}
      load: {image: postgres}
    """
    assert specs(text)["load"].ready == (Ended(),)
