"""Modules of testcontainers, before anything runs: what they would start, in the keys of a service."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.declarations.container import CONTAINER_KEYS, parse_container
from pytest_isolate.declarations.placeholders import escape, render
from pytest_isolate.model.probes import Command
from pytest_isolate.model.service import DEFAULT_SETTINGS
from pytest_isolate.running.testcontainers.declared import DeclaredModule

pytest.importorskip("testcontainers")
from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.mysql import MySqlContainer
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer, Reaper
from testcontainers.core.wait_strategies import LogMessageWaitStrategy


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks an engine fails."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")


def values_of(make: Any) -> dict[str, Any]:
    rehearsal = DeclaredModule(make).rehearse()
    assert rehearsal.refusals == ()
    return dict(rehearsal.values)


def with_options(**options: Any) -> dict[str, Any]:
    return values_of(lambda: DockerContainer("x:1").with_kwargs(**options))


def refusals_of(make: Any) -> list[str]:
    return [refusal.reason for refusal in DeclaredModule(make).rehearse().refusals]


def test_a_plain_container() -> None:
    assert values_of(lambda: DockerContainer("x:1", ports=[80])) == {"image": "x:1", "ports": [80], "timeout": 120.0}
    assert not DeclaredModule(lambda: DockerContainer("x:1")).rehearse().has_wait
    waiting = DockerContainer("x:1", docker_client_kw={"version": "1.41"}).waiting_for(LogMessageWaitStrategy("up"))
    assert DeclaredModule(waiting).rehearse().has_wait


def test_postgres() -> None:
    values = values_of(functools.partial(PostgresContainer, "postgres:16", password="a@b", dbname="shop", driver=None))
    assert values == {
        "image": "postgres:16",
        "env": {"POSTGRES_USER": "test", "POSTGRES_PASSWORD": "a@b", "POSTGRES_DB": "shop"},
        "ports": [5432],
        "url": "postgresql://test:a%40b@{host}:{port}/{database}",
        "user": "test",
        "password": "a@b",
        "database": "shop",
        "copies": "postgres",
        "timeout": 120.0,
    }


def test_subclasses_are_copied_as_their_bases() -> None:
    class OwnMySql(MySqlContainer):
        pass

    assert values_of(OwnMySql)["copies"] == "mariadb"


def test_what_is_set_in_start_counts() -> None:
    """Kafka's module decides on its command there."""
    values = values_of(lambda: KafkaContainer().with_kraft())
    assert values["command"] == ["sh", "-c", "while [ ! -f /tc-start.sh ]; do sleep 0.1; done; sh /tc-start.sh"]
    assert values["env"]["KAFKA_PROCESS_ROLES"] == "broker,controller"


def test_a_rehearsal_changes_nothing_of_what_is_declared() -> None:
    made = KafkaContainer(docker_client_kw={"version": "1.41"})
    before = dict(made.env), made._command, type(made)
    module = DeclaredModule(made)
    assert module.rehearse() is module.rehearse()
    assert (dict(made.env), made._command, type(made)) == before
    assert Reaper._instance is None


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({"entrypoint": "a 'b c'"}, "entrypoint", ["a", "b c"]),
        ({"entrypoint": ["a", "b c"]}, "entrypoint", ["a", "b c"]),
        ({"mem_limit": "64m"}, "memory", "64m"),
        ({"shm_size": 1 << 26}, "shm_size", 1 << 26),
        ({"nano_cpus": 1_500_000_000}, "cpus", 1.5),
        ({"pids_limit": 99}, "pids", 99),
        ({"cap_add": ["SYS_NICE"]}, "cap_add", ["SYS_NICE"]),
        ({"tmpfs": {"/a": ""}}, "in_memory", ["/a"]),
        ({"tmpfs": ["/a"]}, "in_memory", ["/a"]),
        ({"hostname": "h", "user": 1000}, "container", {"hostname": "h", "user": "1000"}),
        ({"dns_opt": ["ndots:1"], "init": True}, "container", {"dns_options": ["ndots:1"], "init": True}),
        ({"healthcheck": {"test": ["CMD", "a", "b"]}}, "ready", Command(argv=("a", "b"))),
        ({"healthcheck": {"test": "a b"}}, "ready", Command(argv=("/bin/sh", "-c", "a b"))),
        ({"healthcheck": {"test": ["CMD-SHELL", "a b"]}}, "ready", Command(argv=("/bin/sh", "-c", "a b"))),
    ],
)
def test_options_of_the_sdk_that_are_keys_of_ours(options: dict[str, Any], key: str, value: object) -> None:
    assert with_options(**options)[key] == value


def test_what_is_handed_on_is_taken_as_the_sdk_writes_it() -> None:
    given = {
        "cap_drop": ["CHOWN"],
        "dns": ["192.0.2.1"],
        "dns_opt": ["ndots:1"],
        "dns_search": ["example.org"],
        "domainname": "example.org",
        "extra_hosts": {"far": "192.0.2.2"},
        "group_add": ["mail", 1000],
        "hostname": "h",
        "init": True,
        "read_only": True,
        "stdin_open": True,
        "stop_signal": "SIGINT",
        "sysctls": {"net.core.somaxconn": 1024},
        "user": 1000,
        "working_dir": "/srv",
    }
    taken = parse_container(with_options(**given)["container"])
    assert (taken.user, taken.extra_hosts, taken.dns_options) == ("1000", (("far", "192.0.2.2"),), ("ndots:1",))
    assert sum(getattr(taken, name) != getattr(DEFAULT_SETTINGS, name) for name in CONTAINER_KEYS) == len(given)


def test_options_that_say_what_is_true_anyway_are_no_matter() -> None:
    assert with_options(auto_remove=True, detach=True, privileged=False, network=None) == values_of(
        lambda: DockerContainer("x:1")
    )


@pytest.mark.parametrize("option", ["privileged", "network_mode", "links", "devices", "platform", "whatever"])
def test_other_options_are_refused(option: str) -> None:
    make = lambda: DockerContainer("x:1").with_kwargs(**{option: "x"})  # noqa: E731
    assert refusals_of(make) == [f"{option}='x' cannot be honoured"]
    assert all(refusal.do for refusal in DeclaredModule(make).rehearse().refusals)


def test_a_health_check_that_is_none_is_refused() -> None:
    make = lambda: DockerContainer("x:1").with_kwargs(healthcheck={"interval": 1})  # noqa: E731
    assert refusals_of(make) == ["healthcheck={'interval': 1} cannot be honoured"]


def test_files_and_volumes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    def make() -> DockerContainer:
        return (
            DockerContainer("x:1")
            .with_volume_mapping(tmp_path, "/folder/")
            .with_volume_mapping("rows", "/rows", "rw")
            .with_copy_into_container(b"\xff\x00", "/binary")
            .with_copy_into_container(tmp_path / "file", "/copied", 0o600)
            .with_copy_into_container(tmp_path, "/into")
        )

    values = values_of(make)
    assert values["files"] == {
        "/folder": {"path": str(tmp_path)},
        "/binary": {"text": b"\xff\x00", "mode": 0o644},
        "/copied": {"path": str(tmp_path / "file"), "mode": 0o600},
        f"/into/{tmp_path.name}": {"path": str(tmp_path)},
    }
    assert values["volumes"] == {"rows": "/rows"}


def test_a_module_whose_start_makes_no_container_is_refused() -> None:
    class Odd(DockerContainer):
        def start(self) -> Odd:
            return self

    assert refusals_of(lambda: Odd("x:1")) == ["its start() makes no container by that of DockerContainer"]


def test_what_cannot_be_copied_is_shared(tmp_path: Path) -> None:
    class Locked(DockerContainer):
        def __init__(self) -> None:
            super().__init__("x:1")
            self.file = (tmp_path / "open").open("w")

    module = DeclaredModule(Locked)
    values = module.rehearse().values
    assert values["image"] == "x:1"
    made: Any = module._made
    made.file.close()


@pytest.mark.parametrize(
    "text", ["", "plain", "{x.y}", "{{x.y}}", "{{{x.y}}}", "{{x.y}", "{x.y}}", '{"a": {"b.c": 1}}']
)
def test_an_escaped_text_renders_to_itself(text: str) -> None:
    assert render(escape(text), lambda _: "filled in") == text
