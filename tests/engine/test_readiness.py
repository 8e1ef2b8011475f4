"""Readiness on a real engine: databases whose image runs a temporary server first, and containers that end."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.conftest import Project

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
            r"  found  container exited with code 3, 2\.\d s after its start; last log lines:",
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
