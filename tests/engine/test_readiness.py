"""Readiness on a real engine: databases whose image runs a temporary server first, and containers that end."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import IMAGE, program
from msgspec.structs import replace
from waiting import wait_for

from engine.conftest import Project
from pytest_isolate.engine.api import ContainerRequest, Engine, EngineFacts, PortBinding
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.identity import LABEL_RUN
from pytest_isolate.model.probes import NotYet, Ready, Tcp
from pytest_isolate.running.readiness.probing import Target, ask

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

SERVICES = Path(__file__).parents[2] / "examples" / "services"
# The temporary servers are there for a second more than they need: a check inside says yes meanwhile.
POSTGRES = f"""
build: {{context: "{SERVICES}/postgres", network: host}}
environment: {{POSTGRES_PASSWORD: sesame}}
expose: ["5432"]
healthcheck: {{test: ["CMD-SHELL", "pg_isready -U postgres"], interval: 5s}}
configs: [{{source: seed, target: /docker-entrypoint-initdb.d/seed.sql}}]
"""
MARIADB = f"""
build: {{context: "{SERVICES}/mariadb", network: host}}
environment: {{MARIADB_ROOT_PASSWORD: sesame}}
ports: ["3306", "33060"]
healthcheck: {{test: ["CMD", "mariadb-admin", "ping", "-h", "localhost"], interval: 5s}}
configs: [{{source: seed, target: /docker-entrypoint-initdb.d/seed.sql}}]
"""
CONNECT = """
import socket
from pytest_isolate.presets.mariadb import READY as MARIADB
from pytest_isolate.presets.postgres import READY as POSTGRES

def first_answer(service, probe):
    with socket.create_connection((service.host, service.port), timeout=10) as sock:
        sock.sendall(probe.send)
        return sock.recv(4096)
"""


def compose_file(service: str, seed: str) -> str:
    """A Compose file with a database that nobody knows by its image's name."""
    keys = "\n".join(f"    {line}" for line in service.strip().splitlines())
    return f"services:\n  db:\n{keys}\nconfigs:\n  seed: {{content: '{seed}'}}\n"


@pytest.mark.parametrize(
    ("service", "seed", "first"),
    [
        pytest.param(POSTGRES, "SELECT pg_sleep(1);", "first_answer(shop.db, POSTGRES)[:1] == b'R'", id="postgres"),
        pytest.param(MARIADB, "SELECT SLEEP(1);", "first_answer(shop.db, MARIADB)[4:5] == b'\\n'", id="mariadb"),
    ],
)
def test_a_database_of_a_compose_file_is_not_ready_during_its_initialisation(
    project: Project, service: str, seed: str, first: str
) -> None:
    project.write("compose.yaml", compose_file(service, seed))
    project.conftest('shop = compose("compose.yaml")')
    project.tests(CONNECT, f"def test_it(shop): assert {first}")

    # The image is built first where no other test has done that.
    project.start().result(timeout_s=300).assert_outcomes(passed=1)


def test_a_check_in_place_of_a_presets_probe_is_no_worse(project: Project) -> None:
    project.conftest(
        f"""
        db = service(
            postgres(build={{"context": "{SERVICES}/postgres", "network": "host"}}),
            files={{"/docker-entrypoint-initdb.d/seed.sql": "SELECT pg_sleep(1);"}},
            ready=command("pg_isready", "-U", "postgres"),
        )
        """
    )
    project.tests(CONNECT, "def test_it(db): assert first_answer(db, POSTGRES)[:1] == b'R'")

    project.start("--isolate-no-cache").result(timeout_s=300).assert_outcomes(passed=1)


class Elsewhere:
    """The engine as one whose containers run in a virtual machine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def facts(self) -> EngineFacts:
        return replace(self._engine.facts(), shares_kernel=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@contextmanager
def slow_forwarder(port: int) -> Iterator[int]:
    """The port of a program that takes each connection at once, and hangs up 0.3 s after the other side has."""

    def forward(client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
            server.recv(1)
            time.sleep(0.3)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=forward, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(("step", "answer"), [("mute 8000", Ready), ("mute 8001", NotYet)])
def test_a_silent_port_behind_a_slow_forwarder_is_ready_when_the_container_listens(
    real_engine: Engine, contract_run: str, step: str, answer: type
) -> None:
    name = f"isolate-contract-{secrets.token_hex(4)}"
    container_id = real_engine.create_container(
        ContainerRequest(
            name=name,
            image=IMAGE,
            labels={LABEL_RUN: contract_run},
            command=program(step, "say up"),
            ports=(PortBinding(inner=8000, host_ip="127.0.0.1", host_port=0),),
        )
    )
    try:
        real_engine.start_container(container_id)
        wait_for(lambda: "up" in real_engine.read_logs(container_id))
        published = real_engine.inspect_container(container_id).ports[8000]
        with slow_forwarder(published) as port:
            endpoints = {8000: Endpoint("127.0.0.1", port)}
            target = Target(container_id=container_id, endpoints=endpoints, main_port=8000)
            found = ask(Tcp(), target, Elsewhere(real_engine))
        assert isinstance(found, answer), found
    finally:
        real_engine.remove_container(container_id)


def test_an_engine_of_this_host_shares_its_kernel(real_engine: Engine) -> None:
    facts = real_engine.facts()
    if not facts.is_local:
        pytest.skip("the engine is another host's")
    assert facts.shares_kernel


def test_a_question_to_a_long_log_costs_no_more_than_one_to_a_short_log(project: Project) -> None:
    """10 MB: to read them all takes a second, and a log probe asked five times a second did so each time."""
    project.conftest(
        """
        lines = "yes 'a line as services write them when there is something to tell' | head -n 150000"
        web = service(IMAGE, command=["sh", "-c", f"{lines}; echo ready; sleep 600"], ready=log("^ready$"), timeout=90)
        """
    )
    project.tests(
        """
        import os, time
        from pytest_isolate.engine.connect import connect
        from pytest_isolate.model.probes import Log, Ready
        from pytest_isolate.running.readiness.log_questions import LogQuestions

        def seconds(work):
            began = time.monotonic()
            work()
            return time.monotonic() - began

        def test_it(web):
            assert web.logs(tail=1) == "ready\\n"
            whole_s = seconds(web.logs)
            assert seconds(lambda: web.logs(tail=1)) < whole_s / 10
            engine = connect(os.environ)
            questions = LogQuestions(lambda tail: engine.read_log_lines(web.container_id, 0, tail), time.monotonic)
            assert questions.ask(Log(pattern="ready")) == Ready()
            assert seconds(lambda: questions.ask(Log(pattern="ready"))) < whole_s / 10
            engine.close()
        """
    )

    project.run().assert_outcomes(passed=1)


ENDS = """
from waiting import wait_for
from pytest_isolate.errors import EngineError

def has_ended(service):
    try:
        service.exec("true")
    except EngineError:
        return True
"""


def test_a_service_that_ends_is_done_or_has_failed(project: Project) -> None:
    project.write(
        "compose.yaml",
        """
        services:
          init: {image: "debian:bookworm-slim", command: ["true"]}
          late: {image: "debian:bookworm-slim", command: ["sh", "-c", "echo begins; sleep 2; exit 3"]}
        """,
    )
    project.conftest('shop = compose("compose.yaml")')
    project.tests(ENDS, "def test_it(shop): wait_for(lambda: has_ended(shop.late))\ndef test_behind(shop): pass")

    result = project.run()

    result.assert_outcomes(passed=1, errors=2)
    result.stdout.re_match_lines(
        [
            r"service 'late' \(debian:bookworm-slim, stack shop\) has failed after it was taken for ready",
            r"  found  container exited with code 3, \d+\.\d s after its start; last log lines:",
            r"           begins",
        ]
    )


def test_a_later_failure_is_told_in_every_worker(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest('job = service(IMAGE, command=program("sleep 2", "exit 3"))')
    project.tests(
        ENDS,
        """
        @pytest.mark.parametrize("n", range(2))
        def test_it(job, n): wait_for(lambda: has_ended(job))
        """,
    )

    project.run("-n2").assert_outcomes(passed=2, errors=2)


def test_a_restart_policy_holds_while_a_service_starts(project: Project) -> None:
    project.conftest(
        """
        up = program("once /srv/made", "say up", "read /data/mark", "serve 8000 hello")
        web = service(IMAGE, command=up, port=8000, volumes={"data": "/data"}, container={"restart": "on-failure:5"})
        marker = service(IMAGE, command=program("sleep 0.7", "write /data/mark yes"), volumes={"data": "/data"})
        shop = stack(web=web, marker=marker)
        """
    )
    project.tests(
        """
        from urllib.request import urlopen
        def test_it(shop):
            assert shop.web.logs().count("up") > 1
            assert urlopen(f"http://{shop.web.address}").read() == b"hello"
        """
    )

    project.run().assert_outcomes(passed=1)
