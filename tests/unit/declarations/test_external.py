"""What runs already, from its URL; and what is said of it."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest

from pytest_isolate.declarations.external import parse_used
from pytest_isolate.declarations.loading import Catalogue, load
from pytest_isolate.declarations.run_options import RunOverrides
from pytest_isolate.engine.api import EngineFacts
from pytest_isolate.errors import PlanError, StartError
from pytest_isolate.model.declaration import Declared
from pytest_isolate.model.endpoint import Endpoint, ExternalService
from pytest_isolate.model.identity import Run
from pytest_isolate.model.probes import Http
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.planning.placement import ItemPosition, place_instances
from pytest_isolate.planning.plan import Demand, build_plan, peak_demand
from pytest_isolate.planning.reset_order import check_resets
from pytest_isolate.presets.catalogue import PRESETS
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.instances.client_containers import check_same_host
from pytest_isolate.running.instances.external import REFUSALS, endpoints_of, probes_of
from unit.builders import OWNER, declare, load_one, raw, sid

HERE = ItemPosition(test="t.py::a", test_class="t.py::a", module="t.py")


RUN = Run(run_id="r", owner=OWNER, secret=b"s")


def adjusted(declared: list[Declared], **urls: str) -> Catalogue:
    used = dict(parse_used(f"{name}={url}", "--isolate-use") for name, url in urls.items())
    return load(declared, exists=lambda _: True, run_overrides=RunOverrides(external=used))


def used_spec(url: str, preset: str = "", **values: object) -> ServiceSpec:
    declared = raw(PRESETS[preset]() if preset else None, **values)
    return adjusted(declare(db=declared), db=url).services[sid("db")]


@pytest.mark.parametrize(
    ("url", "user", "password", "database", "port"),
    [
        ("postgresql://ann:p%40ss@h:99/shop?x=1", "ann", "p@ss", "shop", 99),
        ("postgresql://h", "postgres", "", "postgres", 5432),
        ("postgresql://ann@h/a%2Fb", "ann", "", "a/b", 5432),
        ("postgresql://:x@[::1]:1/", "postgres", "x", "postgres", 1),
    ],
)
def test_a_url_says_who_and_where(url: str, user: str, password: str, database: str, port: int) -> None:
    spec = used_spec(url, "postgres")
    assert spec.external
    assert (spec.user, spec.password, spec.database, spec.external.port) == (user, password, database, port)


def test_the_path_of_a_web_server_is_no_database() -> None:
    spec = used_spec("http://h/base", port=8000)
    assert (spec.database, spec.ports, spec.external and spec.external.port) == (None, (8000,), 80)


def test_a_port_of_the_url_is_enough() -> None:
    assert used_spec("tcp://h:99").ports == (99,)


def test_other_ports_are_at_their_own_numbers() -> None:
    spec = used_spec("amqp://h:99", "rabbitmq", ports=[5672, 15672])
    assert spec.external
    assert endpoints_of(spec, spec.external) == {5672: Endpoint("h", 99), 15672: Endpoint("h", 15672)}


def test_nothing_is_left_of_what_a_container_is_given() -> None:
    spec = used_spec("postgresql://h", "postgres", env={"A": "{self.user}"}, volumes={"v": "/v"}, files={"/f": "x"})
    assert (spec.command, spec.snapshot, spec.in_memory, spec.volumes, spec.files) == (None, (), (), (), ())
    assert dict(spec.env)["A"] == "{self.user}"


def test_what_it_would_need_it_does_not_need() -> None:
    services = declare(db=raw(), web=raw(env={"DB": "{db.host}"}, port=80, needs=["db"]))
    catalogue = adjusted(services, web="http://h")
    assert catalogue.dependencies[sid("web")] == ()


def test_it_takes_no_room() -> None:
    catalogue = adjusted(declare(db=raw(port=80, memory="1g", scope="function"), web=raw(port=80)), db="http://h")
    demand = Demand(where=HERE, services=(sid("db"), sid("web")))
    peak = peak_demand(build_plan([demand], catalogue), 1)
    assert peak.containers == 1
    assert peak.memory_bytes == 256 * 1024**2


def test_whoever_needs_it_is_another_service_than_one_that_needs_a_started_one() -> None:
    services = declare(db=raw(port=80), web=raw(needs=["db"]))
    keys = {
        place_instances([sid("web")], catalogue, HERE)[-1].key
        for catalogue in (
            adjusted(services),
            adjusted(services, db="http://one"),
            adjusted(services, db="http://other"),
            adjusted(services, db="http://other"),
        )
    }
    assert len(keys) == 3


def test_several_workers_cannot_reset_one_server() -> None:
    instances = place_instances([sid("db")], adjusted(declare(db=raw(port=80, reset=Http())), db="http://h"), HERE)
    check_resets(instances, 1)
    with pytest.raises(PlanError, match=r"has reset= and runs already \(given by --isolate-use\), so each of the 2"):
        check_resets(instances, 2)


def test_what_is_reached_with_tls_is_asked_for_a_connection_only() -> None:
    assert [type(probe).__name__ for probe in probes_of(used_spec("https://h", port=443, ready=Http()))] == ["Tcp"]
    assert [type(probe).__name__ for probe in probes_of(used_spec("http://h", port=80, ready=Http()))] == ["Http"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:secret@h:1/d?password=secret#secret", "postgresql://ann:***@h:1/d"),
        ("redis://:secret@h", "redis://:***@h"),
        ("http://ann@h/x", "http://ann@h/x"),
        ("http://h/x", "http://h/x"),
    ],
)
def test_no_text_shows_a_password(url: str, shown: str) -> None:
    used = ExternalService(url=url, host="h", port=1, given_by="x")
    assert str(used) == shown
    assert "secret" not in repr(used)


def test_a_password_is_a_secret_in_both_its_forms() -> None:
    assert ExternalService(url="a://b:p%40ss@h", host="h", port=1, given_by="x").secrets == ("p@ss", "p%40ss")
    assert ExternalService(url="a://b@h", host="h", port=1, given_by="x").secrets == ()


def test_a_url_leads_elsewhere_with_all_that_it_says() -> None:
    used = ExternalService(url="postgresql://a:b@h:1/d?x=y", host="h", port=1, given_by="x")
    assert used.at(Endpoint("db", 2)) == "postgresql://a:b@db:2/d?x=y"
    assert used.at(Endpoint("::1", 2)) == "postgresql://a:b@[::1]:2/d?x=y"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.9.9", True), ("localhost", True), ("::1", True), ("db", False), ("10.0.0.1", False)],
)
def test_the_loopback_is_this_hosts(host: str, expected: bool) -> None:
    assert ExternalService(url="", host=host, port=1, given_by="").is_loopback is expected


def test_every_method_of_a_handle_is_refused_by_one_that_runs_already() -> None:
    """A method that is added to the one must be thought of in the other."""
    harmless = {"port_of"}
    methods = {name for name, _ in inspect.getmembers(Service, inspect.isfunction) if not name.startswith("_")}
    assert methods - harmless == set(REFUSALS)


def test_without_options_a_service_is_as_declared() -> None:
    declared = load_one(port=80)
    assert RunOverrides().apply(sid("svc"), declared) == declared


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (
            EngineFacts(name="", version="", address="tcp://far:1", is_local=False),
            "the engine at tcp://far:1 is on another one, with a loopback of its own",
        ),
        (
            EngineFacts(name="", version="", address="unix:///s", is_local=True, shares_kernel=False),
            "the engine at unix:///s is in a virtual machine, with a loopback of its own",
        ),
    ],
)
def test_a_server_of_this_host_cannot_be_copied_by_clients_on_another_one(facts: EngineFacts, found: str) -> None:
    class Elsewhere:
        def facts(self) -> EngineFacts:
            return facts

    catalogue = adjusted(declare(db=raw(PRESETS["postgres"]())), db="postgresql://127.0.0.1")
    (instance,) = place_instances([sid("db")], catalogue, HERE)
    running = SimpleNamespace(instance=instance, spec=instance.spec)
    with pytest.raises(StartError, match="cannot be copied from here") as caught:
        check_same_host(running, Elsewhere(), RUN)
    assert f"found  {found}" in str(caught.value)
