"""Placeholders filled in, and urls."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.declarations.references import valid_attributes
from pytest_isolate.model.declaration import RawService
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.probes import Http, Tcp
from pytest_isolate.model.service import ContainerSettings, File, Pairs
from pytest_isolate.presets.postgres import postgres
from pytest_isolate.running.containers.view import ServiceView, render_spec
from unit.builders import declare, load_all, raw, sid, spec

OUTSIDE = {80: Endpoint("127.0.0.1", 40080), 443: Endpoint("127.0.0.1", 40443)}


def view(name: str = "svc", *, password: str | None = None, env: Pairs = (), **values: object) -> ServiceView:
    return ServiceView(spec=spec(name, **values), password=password, endpoints=OUTSIDE, env=dict(env))


def rendered_env(own: ServiceView, text: str, **others: ServiceView) -> str:
    filled = ServiceView(
        spec=spec(own.spec.name, ports=own.spec.ports, user=own.spec.user, env=(("X", text),)),
        password=own.password,
        endpoints=own.endpoints,
    )
    return render_spec(filled, others).env["X"]


@given(*3 * [st.text(min_size=1)])
def test_a_url_can_be_taken_apart_again_whatever_is_in_it(user: str, password: str, database: str) -> None:
    template = "postgresql://{user}:{password}@{host}:{port}/{database}"

    parts = urlsplit(view(url=template, ports=(80,), user=user, password=password, database=database).url(OUTSIDE[80]))

    assert (parts.hostname, parts.port) == ("127.0.0.1", 40080)
    assert unquote(parts.username or "") == user
    assert unquote(parts.password or "") == password
    assert unquote(parts.path.removeprefix("/")) == database


def test_what_would_end_a_part_of_a_url_is_quoted() -> None:
    url = view(url="x://{user}:{password}@{host}", ports=(80,), user="a@b", password="p/:?#%").url(OUTSIDE[80])

    assert url == "x://a%40b:p%2F%3A%3F%23%25@127.0.0.1"


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({"ready": (Http(),)}, "http://svc:80"),
        ({"ready": (Tcp(), Http(path="/x"))}, "http://svc:80"),
        ({"ready": (Tcp(),)}, "tcp://svc:80"),
        ({}, "tcp://svc:80"),
        ({"url": "redis://{host}:{port}/0"}, "redis://svc:80/0"),
        ({"url": "x://{user}:{password}@{host}"}, "x://:@svc"),
    ],
)
def test_a_url_follows_from_what_is_declared(values: dict[str, object], url: str) -> None:
    one = view(ports=(80,), **values)

    assert one.url(one.inside) == url


@pytest.mark.parametrize(
    ("placeholder", "text"),
    [
        ("{db.host}", "db"),
        ("{db.port}", "80"),
        ("{db.address}", "db:80"),
        ("{db.url}", "tcp://db:80"),
        ("{db.user}", "app"),
        ("{db.password}", "p/w"),
        ("{db.database}", "d"),
        ("{db.env.REALM}", "hr"),
        ("{db.env.discovery.type}", "single-node"),
        ("{self.host}", "auth"),
        ("{self.port}", "443"),
        ("{self.external_host}", "127.0.0.1"),
        ("{self.external_port}", "40443"),
        ("{self.external_port.80}", "40080"),
        ("{self.external_address}", "127.0.0.1:40443"),
        ("{{db.host}}", "{db.host}"),
    ],
)
def test_a_placeholder_is_filled_in(placeholder: str, text: str) -> None:
    env = (("REALM", "hr"), ("discovery.type", "single-node"))
    db = view("db", ports=(80, 443), user="app", password="p/w", database="d", env=env)

    assert rendered_env(view("auth", ports=(443, 80)), placeholder, db=db) == text


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("values", [{}, {"ports": (80, 443)}, {"ports": (80,), "user": "", "database": "d"}])
def test_every_attribute_that_a_declaration_may_name_has_a_value(own: bool, values: dict[str, object]) -> None:
    service = spec("db", password="p", env=(("A", "1"), ("b.c.d", "2")), **values)
    one = ServiceView(spec=service, password="p", endpoints=OUTSIDE, env=dict(service.env))

    assert all(isinstance(one.attribute(name), str) for name in valid_attributes(service, own=own))


def test_an_attribute_that_is_none_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="hots"):
        view().attribute("hots")


def test_everything_that_may_hold_placeholders_is_filled_in() -> None:
    declared = raw(
        env={"A": "{db.host}"},
        command=["run", "{db.host}"],
        entrypoint=["sh", "{self.host}"],
        files={"/a": {"text": "{db.host}", "mode": "0600"}},
    )
    service = load_all(declare(auth=declared, db=raw())).services[sid("auth")]

    rendered = render_spec(ServiceView(spec=service, password=None), {"db": view("db")})

    assert rendered.env == {"A": "db"}
    assert rendered.command == ("run", "db")
    assert rendered.entrypoint == ("sh", "auth")
    assert rendered.files == (File(target="/a", text="db", mode=0o600),)


def test_files_of_the_host_are_left_as_they_are() -> None:
    copied = File(target="/a", source="/{db.host}", mode=0o600)

    assert render_spec(ServiceView(spec=spec(files=(copied,)), password=None), {}).files == (copied,)


@pytest.mark.parametrize("argv", [None, ()])
def test_no_command_and_an_empty_one_are_told_apart(argv: tuple[str, ...] | None) -> None:
    rendered = render_spec(ServiceView(spec=spec(command=argv, entrypoint=argv), password=None), {})

    assert (rendered.command, rendered.entrypoint) == (argv, argv)


def test_a_preset_hands_its_password_to_its_server_and_its_clients() -> None:
    catalogue = load_all(declare(db=RawService(layers=postgres(user="me").layers), auth=raw(env={"U": "{db.url}"})))
    db = ServiceView(spec=catalogue.services[sid("db")], password="s3")

    env = render_spec(db, {}).env
    assert (env["POSTGRES_USER"], env["POSTGRES_PASSWORD"], env["POSTGRES_DB"]) == ("me", "s3", "postgres")
    auth = ServiceView(spec=catalogue.services[sid("auth")], password=None)
    assert render_spec(auth, {"db": db}).env == {"U": "postgresql://me:s3@db:5432/postgres"}


@pytest.mark.parametrize(("aliases", "host"), [(("x", "shop-web"), "shop-web"), (("x",), "shop_web")])
def test_host_without_underscores_is_the_one_that_is_told_where_there_is_one(
    aliases: tuple[str, ...], host: str
) -> None:
    found = view("shop_web", ports=(80,), container=ContainerSettings(aliases=aliases))
    assert found.attribute("host") == found.inside_host == host
    assert found.attribute("address") == f"{host}:80"
    assert found.attribute("url") == f"tcp://{host}:80"
