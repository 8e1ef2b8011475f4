"""Ready-made services: their values, and changes to them."""

from __future__ import annotations

import inspect

import pytest

from pytest_isolate.model import probes
from pytest_isolate.model.declaration import Preset, RawService, Secret
from pytest_isolate.model.probes import Command, Http, Log, Tcp
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.presets.catalogue import PRESETS
from pytest_isolate.presets.mariadb import mariadb
from pytest_isolate.presets.mosquitto import mosquitto
from pytest_isolate.presets.mysql import mysql
from pytest_isolate.presets.nats import nats
from pytest_isolate.presets.nginx import nginx
from pytest_isolate.presets.openldap import openldap
from pytest_isolate.presets.postgres import postgres
from pytest_isolate.presets.rabbitmq import rabbitmq
from pytest_isolate.presets.redis import redis
from pytest_isolate.presets.valkey import valkey
from pytest_isolate.running.images.snapshot_key import can_be_snapshotted
from unit.builders import declare, load_all, only_problem, sid


def load_preset(preset: Preset) -> ServiceSpec:
    return load_all(declare(db=RawService(layers=preset.layers))).services[sid("db")]


def test_postgres_has_what_a_client_needs() -> None:
    service = load_preset(postgres())

    assert service.image == "postgres:16"
    assert service.ports == (5432,)
    assert (service.user, service.password, service.database) == ("postgres", Secret.RANDOM, "postgres")
    assert service.url == "postgresql://{user}:{password}@{host}:{port}/{database}"
    assert dict(service.env) == {
        "POSTGRES_USER": "{self.user}",
        "POSTGRES_PASSWORD": "{self.password}",
        "POSTGRES_DB": "{self.database}",
        "PGDATA": "/srv/postgresql/data",
    }


@pytest.mark.parametrize("preset", [postgres(), mariadb(), mysql()], ids=str)
def test_first_start_of_a_database_may_be_saved(preset: Preset) -> None:
    service = load_preset(preset)

    assert can_be_snapshotted(service)
    assert any(service.snapshot[0] in text for text in (*dict(service.env).values(), *(service.command or ())))


def test_mariadb_has_what_a_client_needs() -> None:
    service = load_preset(mariadb())

    assert service.image == "mariadb:11.4"
    assert service.ports == (3306,)
    assert (service.user, service.password, service.database) == ("app", Secret.RANDOM, "app")
    assert service.url == "mysql://{user}:{password}@{host}:{port}/{database}"
    assert dict(service.env) == {
        "MARIADB_USER": "{self.user}",
        "MARIADB_PASSWORD": "{self.password}",
        "MARIADB_DATABASE": "{self.database}",
        "MARIADB_ROOT_PASSWORD": "{self.password}",
    }


def test_mysql_has_what_a_client_needs() -> None:
    service = load_preset(mysql())

    assert service.url == "mysql://{user}:{password}@{host}:{port}/{database}"
    assert dict(service.env) == {
        "MYSQL_USER": "{self.user}",
        "MYSQL_PASSWORD": "{self.password}",
        "MYSQL_DATABASE": "{self.database}",
        "MYSQL_ROOT_PASSWORD": "{self.password}",
    }


def test_mysql_starts_through_its_images_own_entrypoint() -> None:
    service = load_preset(mysql())

    assert service.entrypoint[:2] == ("sh", "-c")
    assert service.entrypoint[2].endswith('exec docker-entrypoint.sh "$@"')
    assert f"rm -f {service.snapshot[0]}/auto.cnf" in service.entrypoint[2]
    assert service.command[0] == "mysqld"


@pytest.mark.parametrize(("preset", "server"), [(redis(), "redis-server"), (valkey(), "valkey-server")], ids=str)
def test_redis_has_many_databases_and_keeps_nothing(preset: Preset, server: str) -> None:
    service = load_preset(preset)

    name, *options = service.command
    pairs = dict(zip(options[::2], options[1::2], strict=True))
    assert name == server
    assert pairs == {"--save": "", "--appendonly": "no", "--databases": "1024", "--requirepass": "{self.password}"}
    assert service.url == "redis://{user}:{password}@{host}:{port}/{database}"
    assert (service.user, service.database) == ("default", "0")


def test_rabbitmq_has_what_a_client_needs() -> None:
    service = load_preset(rabbitmq())

    assert service.url == "amqp://{user}:{password}@{host}:{port}/{database}"
    assert dict(service.env) == {
        "RABBITMQ_DEFAULT_USER": "{self.user}",
        "RABBITMQ_DEFAULT_PASS": "{self.password}",
        "RABBITMQ_DEFAULT_VHOST": "{self.database}",
    }


def test_nats_is_given_flags_only_which_each_of_its_images_understands() -> None:
    assert load_preset(nats()).command == ("--user", "{self.user}", "--pass", "{self.password}")


def test_mosquitto_lets_nobody_in_without_a_password() -> None:
    service = load_preset(mosquitto())

    (config,) = service.files
    assert config.target == "/mosquitto/config/mosquitto.conf"
    assert {"listener 1883", "allow_anonymous false"} < set(config.text.splitlines())
    assert service.command[-2:] == ("{self.user}", "{self.password}")


def test_openldaps_final_server_listens_where_the_temporary_one_does_not() -> None:
    service = load_preset(openldap())

    assert service.ports == (int(dict(service.env)["LDAP_PORT"]),)
    assert service.ports != (389,)
    assert service.user == f"cn=admin,{service.database}"
    assert service.database == ",".join(f"dc={part}" for part in dict(service.env)["LDAP_DOMAIN"].split("."))


@pytest.mark.parametrize(
    ("preset", "image"),
    [
        (postgres("15"), "postgres:15"),
        (mariadb("10.11"), "mariadb:10.11"),
        (mysql("8.0"), "mysql:8.0"),
        (redis("7"), "redis:7"),
        (valkey("9"), "valkey/valkey:9"),
        (nginx("1.29"), "nginx:1.29"),
    ],
)
def test_the_version_is_the_images_tag(preset: Preset, image: str) -> None:
    assert load_preset(preset).image == image


@pytest.mark.parametrize("make", PRESETS.values(), ids=PRESETS)
def test_every_key_can_be_changed(make: type) -> None:
    service = load_preset(make(image="own:1", port=9999, user="u", password="p", env={"X": "y"}, memory="64m"))

    assert (service.image, service.ports, service.user, service.password) == ("own:1", (9999,), "u", "p")
    assert dict(service.env) == {**dict(load_preset(make()).env), "X": "y"}


@pytest.mark.parametrize("make", PRESETS.values(), ids=PRESETS)
def test_a_change_is_placed_where_it_is_written(make: type) -> None:
    line = inspect.currentframe().f_lineno + 1
    preset = make(memory="lots")

    problem = only_problem(declare(db=RawService(layers=preset.layers)))

    assert problem.place == f"{__file__}:{line}"


@pytest.mark.parametrize(("name", "make"), PRESETS.items())
def test_a_preset_knows_its_name(name: str, make: type) -> None:
    assert str(make()) == name
    assert str(make().layers[0].location) == f"preset {name}"


@pytest.mark.parametrize("make", PRESETS.values(), ids=PRESETS)
def test_a_wrong_key_of_a_preset_is_refused(make: type) -> None:
    problem = only_problem(declare(db=RawService(layers=make(imag="x").layers)))

    assert problem.reason == "unknown key 'imag', did you mean 'image'?"


@pytest.mark.parametrize(
    ("made", "probe", "text"),
    [
        (probes.tcp(), Tcp(), "tcp"),
        (probes.tcp(25, send=b"x", expect="y"), Tcp(port=25, send=b"x", expect="y"), "tcp port 25"),
        (probes.http(), Http(path="/"), "http /"),
        (probes.http("/a", port=81, status=401), Http(path="/a", port=81, status=401), "http /a on port 81"),
        (probes.log("ready", times=2), Log(pattern="ready", times=2), "log line matching 'ready'"),
        (probes.command("pg_isready", "-q"), Command(argv=("pg_isready", "-q")), "command pg_isready -q"),
    ],
)
def test_a_probe_is_a_value_with_a_short_description(made: object, probe: object, text: str) -> None:
    assert made == probe
    assert str(made) == text
