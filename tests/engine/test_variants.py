"""Alternatives and changed services beside the others, in real containers on real networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

SERVICES = Path(__file__).parents[2] / "examples" / "services"
VERSIONS = f"""
def build(name, debian="bookworm"):
    return {{"context": {str(SERVICES)!r} + "/" + name, "args": {{"DEBIAN": debian}}, "network": "host"}}

db = service(postgres(build=build("postgres")))
env = {{"DATABASE_URL": "{{db.url}}", "REALM": "here"}}
auth = service(build=build("auth"), port=8000, env=env, ready=http("/healthz"))
versions = variants(
    db={{"pg15": {{}}, "pg17": {{"build": build("postgres", "trixie")}}}},
    auth={{"bookworm": {{}}, "trixie": {{"build": build("auth", "trixie")}}}},
)
"""
# The first test of a worker goes on when it has seen one of the other worker, for another variant, begin.
AT_ONCE = """
from pathlib import Path

import httpx
from waiting import wait_for

RELEASES = {"pg15": "15.", "pg17": "17.", "bookworm": "3.11.", "trixie": "3.13."}

def test_it(db, auth, versions, worker_id, tmp_path_factory):
    meet(worker_id, versions)
    query = lambda sql: db.exec("psql", "-U", db.user, "-qAtc", sql, check=True).stdout
    assert query("SHOW server_version").startswith(RELEASES[versions["db"]])
    assert RELEASES[versions["auth"]] in auth.exec("python3", "--version").stdout
    user = {"name": f"{versions['auth']} on {versions['db']}", "password": "x"}
    assert httpx.post(f"{auth.url}/register", json=user).is_success
    assert httpx.post(f"{auth.url}/login", json=user).is_success
    names = query("SELECT name FROM accounts").splitlines()
    assert user["name"] in names
    assert all(name.endswith(versions["db"]) for name in names)

def meet(worker, versions):
    Path(f"began-{worker}-{'-'.join(versions.values())}").touch()
    other = "gw1" if worker == "gw0" else "gw0"
    wait_for(lambda: list(Path.cwd().glob(f"began-{other}-*")))
"""


def test_two_databases_and_two_services_run_the_same_tests_at_once(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(VERSIONS)
    project.tests(AT_ONCE)
    result = project.start("-n2", "-v").result(timeout_s=300)
    result.assert_outcomes(passed=4)
    combinations = [f"db={db},auth={auth}" for db in ("pg15", "pg17") for auth in ("bookworm", "trixie")]
    result.stdout.fnmatch_lines([f"isolate: variant {one}: 1 passed" for one in combinations])
    # Two databases, and an auth service in two versions for each.
    result.stdout.fnmatch_lines(["isolate: 6 services started,*"])


def test_connections_to_a_shared_service_go_on_when_it_joins_the_network_of_a_changed_one(project: Project) -> None:
    """Docker moves published ports to the first of a container's networks by name."""
    project.conftest(
        """
        db = service(IMAGE, command=program("greet 5432 hello"), port=5432, memory="32m")
        auth = service(IMAGE, command=program("serve 8000"), port=8000, env={"DB": "{db.host}"}, memory="32m")
        """
    )
    project.tests(
        """
        import socket

        def test_plain(auth): pass

        @override(auth={"env": {"REALM": "lab"}})
        def test_lab(db, request):
            with socket.create_connection((db.host, db.port), timeout=60) as connection:
                assert connection.recv(100) == b"hello\\n"
                auth = request.getfixturevalue("auth")
                assert auth.env["REALM"] == "lab"
                assert auth.exec("getent", "hosts", "db").exit_code == 0
                connection.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    connection.recv(100)
        """
    )
    project.run().assert_outcomes(passed=2)
