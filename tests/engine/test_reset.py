"""reset= on real servers: the preset's own way, a command, and what a test has left open."""

from __future__ import annotations

import pytest

from engine.conftest import Project
from engine.test_fresh import DECLARE

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

SERVICES = """
import threading

TRUNCATE = "DO $$ BEGIN IF to_regclass('item') IS NOT NULL THEN TRUNCATE item; END IF; END $$"
db = service(postgres(image=None, build=built("postgres"), reset=True))
app = service(postgres(image=None, build=built("postgres"), database="app"), reset=command("psql", "-c", TRUNCATE))
cache = service(redis(image=None, build=built("redis"), reset=True))
maria = service(mariadb(image=None, build=built("mariadb"), reset=True))

def psql(service, text):
    argv = ["psql", "-v", "ON_ERROR_STOP=1", "-qAtU", "postgres", "-d", service.database, "-c", text]
    return service.exec(*argv, check=True).stdout.strip()

def sql(service, text):
    argv = ["mariadb", "-u", service.user, f"-p{service.password}", "-BN", service.database, "-e", text]
    return service.exec(*argv, check=True).stdout.strip()

def cli(service, *words):
    argv = ["redis-cli", "--no-auth-warning", "-a", service.password, *words]
    return service.exec(*argv, check=True).stdout.strip()

def leave_open(service, *argv):
    threading.Thread(target=service.exec, args=argv, daemon=True).start()
"""


@pytest.mark.slow
def test_servers_are_as_they_were_behind_each_test_whatever_it_leaves_open(project: Project) -> None:
    project.conftest(DECLARE, SERVICES)
    project.tests(
        "from conftest import cli, leave_open, psql, sql",
        """
        @pytest.mark.parametrize("number", range(3))
        def test_db(db, number):
            assert psql(db, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
            assert psql(db, "SHOW work_mem") == "4MB"
            psql(db, "CREATE EXTENSION pg_trgm; CREATE TABLE item (n int); INSERT INTO item VALUES (1)")
            psql(db, "ALTER DATABASE postgres SET work_mem TO '5MB'")
            leave_open(db, "psql", "-U", "postgres", "-c", "BEGIN; LOCK TABLE item; SELECT pg_sleep(60)")

        @pytest.mark.parametrize("verb", ["SET", "FLUSHALL", "last"])
        def test_cache(cache, verb):
            assert cli(cache, "DBSIZE") == cli(cache, "-n", "5", "DBSIZE") == "0"
            cli(cache, "SET", "mine", "1")
            cli(cache, "-n", "5", "SET", "mine", "1")
            if verb == "FLUSHALL":
                cli(cache, "FLUSHALL")

        @pytest.mark.parametrize("number", range(3))
        def test_maria(maria, number):
            assert sql(maria, "SHOW TABLES") == ""
            sql(maria, "CREATE TABLE item (n int) ENGINE=InnoDB; INSERT INTO item VALUES (1)")
            text = "BEGIN; SELECT * FROM item; SELECT SLEEP(60)"
            leave_open(maria, "mariadb", "-u", maria.user, f"-p{maria.password}", maria.database, "-e", text)

        def test_before(app):
            psql(app, "CREATE TABLE item (n int); INSERT INTO item VALUES (1)")
        def test_behind(app):
            assert psql(app, "SELECT count(*) FROM item") == "0"
        """,
    )

    project.run().assert_outcomes(passed=11)
