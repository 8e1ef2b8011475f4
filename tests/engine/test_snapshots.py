"""Snapshots on a real engine: made by real databases, and used by the next run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.observing import find_processes, is_running

from engine.conftest import Project
from pytest_isolate.model.identity import LABEL_SNAPSHOT, LABEL_SNAPSHOT_BYTES

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]

SERVICES = Path(__file__).parents[2] / "examples" / "services"
SQL = """
def sql(db, text):
    argv = ["psql", "-v", "ON_ERROR_STOP=1", "-qAtU", "postgres", "-c", text]
    return db.exec(*argv, check=True).stdout.strip()
"""


SAVING = """
import os
from pathlib import Path

from waiting import wait_for

def wait_until_saved():
    # Also on a busy machine, on which the end of the run does not wait long enough.
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "pytest-isolate" / "snapshots"
    wait_for(lambda: any(len(note.name) == 32 for note in folder.iterdir()))
"""


@pytest.fixture
def frozen(project: Project, docker_client: Any) -> Iterator[Project]:
    """A project of a user who has saved nothing yet; what it saves goes with it."""
    project.env["XDG_CACHE_HOME"] = str(project.path / "cache")
    project.write("saving.py", SAVING)
    before = snapshots(docker_client)
    yield project
    for tag in snapshots(docker_client) - before:
        if (project.path / "cache" / "pytest-isolate" / "snapshots" / tag.partition(":")[2]).exists():
            docker_client.remove_image(tag)


def snapshots(client: Any) -> set[str]:
    images = client.images(filters={"label": [LABEL_SNAPSHOT]})
    return {tag for image in images for tag in image["RepoTags"] or ()}


def own(project: Project, client: Any) -> set[str]:
    noted = {path.name for path in (project.path / "cache" / "pytest-isolate" / "snapshots").iterdir()}
    return {tag for tag in snapshots(client) if tag.partition(":")[2] in noted}


def test_postgres_starts_from_what_its_first_start_has_made(frozen: Project, docker_client: Any) -> None:
    seed = "CREATE TABLE item (n serial PRIMARY KEY, name text); INSERT INTO item (name) VALUES ('seed');"
    frozen.conftest(
        f"""
        db = postgres(
            image=None,
            build={{"context": {str(SERVICES / "postgres")!r}, "network": "host"}},
            files={{"/docker-entrypoint-initdb.d/seed.sql": {seed!r}}},
        )
        db = service(db)
        """
    )
    frozen.tests(
        "from saving import wait_until_saved",
        SQL,
        """
        def test_it(db):
            wait_until_saved()
            print("cold" if "running /docker-entrypoint" in db.logs() else "thawed")
            print("secret", db.password)
            assert sql(db, "SELECT string_agg(n || name, ',') FROM item") == "1seed"
            assert sql(db, "INSERT INTO item (name) VALUES ('test') RETURNING n") == "2"
            db.kill()
            db.start()
            assert sql(db, "SELECT count(*) FROM item") == "2", "data outlives a kill"
        """,
    )
    outputs = []
    for _ in range(3):
        result = frozen.run("-s")
        result.assert_outcomes(passed=1)
        outputs.append(result.stdout.str())
    assert ["thawed" in output for output in outputs] == [False, True, True]
    (tag,) = own(frozen, docker_client)
    image = docker_client.inspect_image(tag)
    (secret,) = {line.split()[1] for o in outputs for line in o.splitlines() if line.startswith("secret")}
    assert secret not in str(image), "no password in the image's configuration"
    assert [key for key in image["Config"]["Labels"] if "isolate" in key] == [LABEL_SNAPSHOT, LABEL_SNAPSHOT_BYTES]


def test_mariadb_starts_from_what_its_first_start_has_made(frozen: Project) -> None:
    frozen.conftest(
        f"""
        db = mariadb(
            image=None,
            build={{"context": {str(SERVICES / "mariadb")!r}, "network": "host"}},
            files={{"/docker-entrypoint-initdb.d/seed.sql": "DO 1;"}},
        )
        db = service(db)
        """
    )
    frozen.tests(
        """
        from saving import wait_until_saved

        def sql(db, text):
            argv = ["mariadb", "--batch", "--skip-column-names", f"--user={db.user}", f"--password={db.password}"]
            return db.exec(*argv, "-e", text, db.database, check=True).stdout.strip()

        def test_it(db):
            wait_until_saved()
            print("cold" if "running /docker-entrypoint" in db.logs() else "thawed")
            assert sql(db, "SHOW TABLES") == ""
            sql(db, "CREATE TABLE item (n INT); INSERT INTO item VALUES (1)")
            db.kill()
            db.start()
            assert sql(db, "SELECT n FROM item") == "1"
        """
    )
    for expected in (False, True):
        result = frozen.run("-s")
        result.assert_outcomes(passed=1)
        assert ("thawed" in result.stdout.str()) is expected


def test_mysqls_that_start_from_one_snapshot_have_ids_of_their_own(frozen: Project, docker_client: Any) -> None:
    frozen.conftest(
        f"""
        folder = {str(SERVICES / "mariadb")!r}
        db = service(mysql(build={{"context": folder, "dockerfile": "mysql.Dockerfile", "network": "host"}}))
        replica = service(db)
        """
    )
    frozen.write("test_one.py", "from saving import wait_until_saved\ndef test_it(db): wait_until_saved()")
    frozen.write(
        "test_two.py",
        """
        def uuid(server):
            return server.exec("cat", "/srv/mysql/auto.cnf", check=True).stdout

        def test_it(db, replica):
            assert "generated root password" not in db.logs() + replica.logs(), "both are thawed"
            assert uuid(db) != uuid(replica)

        def test_restart_keeps_the_id(db):
            before = uuid(db)
            db.restart()
            assert uuid(db) == before
        """,
    )
    frozen.run("test_one.py").assert_outcomes(passed=1)
    frozen.run("test_two.py").assert_outcomes(passed=2)
    assert len(own(frozen, docker_client)) == 1


def test_folder_that_the_image_declares_as_a_volume_is_saved_too(frozen: Project) -> None:
    frozen.write("image/Dockerfile", "FROM debian:bookworm-slim\nVOLUME /srv/data\n")
    frozen.conftest(
        """
        db = service(build="image", command=program("once /srv/data/made", "say up", "sleep 600"), ready=log("up"),
                     snapshot="/srv/data")
        """
    )
    frozen.tests(
        """
        from saving import wait_until_saved

        def test_it(db):
            wait_until_saved()
            print("cold" if "made" in db.logs() else "thawed")
        """
    )
    for expected in (False, True):
        result = frozen.run("-s")
        result.assert_outcomes(passed=1)
        assert ("thawed" in result.stdout.str()) is expected


def test_workers_that_start_the_same_at_once_save_it_once(frozen: Project, docker_client: Any) -> None:
    frozen.conftest(
        """
        db = service(IMAGE, command=program("once /srv/data/made", "say up", "sleep 600"), ready=log("up"),
                     snapshot="/srv/data", share="worker")
        """
    )
    frozen.tests("@pytest.mark.parametrize('n', range(4))\ndef test_it(db, n): pass")
    for _ in range(2):
        frozen.run("-n2").assert_outcomes(passed=4)
    assert len(own(frozen, docker_client)) == 1


HELD = """
import pathlib, threading
from pytest_isolate.engine.docker.container_api import ContainerApi

real = ContainerApi.save_archive

def save_and_wait(self, *args):
    real(self, *args)
    pathlib.Path("saved").touch()
    threading.Event().wait()

ContainerApi.save_archive = save_and_wait
db = service(IMAGE, command=program("once /srv/data/made", "say up", "sleep 600"), ready=log("up"),
             snapshot="/srv/data")
other = service(IMAGE, command=forever())
"""


@pytest.mark.parametrize("where", ["run", "worker"])
@pytest.mark.parametrize("cleaner", ["guardian", "next run"])
def test_of_a_run_that_is_killed_meanwhile_no_folder_stays(frozen: Project, where: str, cleaner: str) -> None:
    temporary = frozen.path / "temporary"
    temporary.mkdir()
    frozen.env["TMPDIR"] = str(temporary)
    frozen.conftest(HELD)
    frozen.tests("def test_it(db): pass")
    frozen.tests("def test_small(other): pass", name="test_small.py")
    run = frozen.start("test_it.py", *(["-n1"] if where == "worker" else []))
    run.wait_for((frozen.path / "saved").exists)
    processes = find_processes(run.process.pid)
    assert [path.stat().st_size > 0 for path in temporary.glob("pytest-isolate-snapshot-*/0.tar")] == [True]

    victims = (run.process.pid, *processes.workers, *(processes.guardian if cleaner == "next run" else ()))
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    run.process.wait()

    if cleaner == "next run":
        run.wait_for(lambda: not any(map(is_running, victims)))
        frozen.run("test_small.py").assert_outcomes(passed=1)
    run.wait_for(lambda: list(temporary.iterdir()) == [])
