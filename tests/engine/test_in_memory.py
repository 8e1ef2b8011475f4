"""Data in memory, on a real engine: it is there, outlives what a test does to its server, and has a limit."""

from __future__ import annotations

import pytest

from engine.conftest import Project
from engine.test_snapshots import SERVICES, SQL

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]

POSTGRES = (
    f"db = service(postgres(image=None, build={{'context': {str(SERVICES / 'postgres')!r}, 'network': 'host'}}%s))"
)
KIND = """
def kind(db):
    return db.exec("stat", "-f", "-c", "%T", "/srv/postgresql/data", check=True).stdout.strip()
"""


@pytest.mark.parametrize(
    ("options", "more", "expected"),
    [
        (["--isolate-no-cache"], "", "tmpfs"),
        (["--isolate-no-cache", "--isolate-in-memory=0"], "", "overlayfs"),
        (["--isolate-no-cache"], ", in_memory=[]", "overlayfs"),
        (["--isolate-no-cache"], ", memory='512m'", "overlayfs"),
    ],
    ids=["default", "off for the run", "off for the service", "its memory is limited"],
)
def test_it_is_in_memory_where_nothing_speaks_against_it(
    project: Project, options: list[str], more: str, expected: str
) -> None:
    project.conftest(POSTGRES % more)
    project.tests(KIND, f"def test_it(db): assert kind(db) == {expected!r}")
    project.run(*options).assert_outcomes(passed=1)
    assert not project.objects()


def test_data_outlives_a_stop_and_a_kill(project: Project) -> None:
    project.conftest(POSTGRES % "")
    project.tests(
        SQL,
        KIND,
        """
        import pytest

        @pytest.mark.parametrize("end", ["stop", "kill", "restart"])
        def test_it(db, end):
            sql(db, "CREATE TABLE IF NOT EXISTS seen (what text)")
            before = sql(db, "SELECT count(*) FROM seen")
            sql(db, f"INSERT INTO seen VALUES ('{end}')")
            getattr(db, end)()
            if end != "restart":
                db.start()
            assert kind(db) == "tmpfs"
            assert sql(db, "SELECT count(*) FROM seen") == str(int(before) + 1)
        """,
    )
    project.run("--isolate-no-cache").assert_outcomes(passed=3)
    assert not project.objects()


def test_a_server_that_ended_by_itself_is_not_taken_for_one_with_its_data(project: Project) -> None:
    project.conftest(POSTGRES % "")
    project.tests(
        """
        from waiting import wait_for

        def test_it(db):
            db.exec("sh", "-c", "kill -QUIT 1")
            engine = db._controls._engine
            wait_for(lambda: not engine.inspect_container(db.container_id).is_running)
            db.start()
        """
    )
    result = project.run("--isolate-no-cache")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*service 'db' (*) cannot be started again, because its data has gone*"])
    result.stdout.fnmatch_lines(["*--isolate-in-memory=0*"])


def test_a_test_that_fails_when_memory_is_full_is_told_what_to_do(project: Project) -> None:
    project.conftest(POSTGRES % "")
    project.tests(
        SQL,
        'def test_it(db): sql(db, "CREATE TABLE t AS SELECT repeat(md5(n::text), 99) FROM generate_series(1, 1e6) n")',
    )
    result = project.run("--isolate-no-cache", "--isolate-in-memory=64m")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*'db' is in memory and may take 64 MiB: allow more with --isolate-in-memory=4g*"])


def test_a_server_that_cannot_start_because_memory_is_full_says_what_to_do(project: Project) -> None:
    project.conftest(POSTGRES % "")
    project.tests("def test_it(db): pass")
    result = project.run("--isolate-no-cache", "--isolate-in-memory=8m")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ended before it was ready*", "*'db' is in memory and may take 8 MiB*"])


COPIED = """
def space(db, database):
    found = "SELECT spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = "
    return sql(db, found + f"'{database}'")
"""
CHANGE = """
def change(orders):
    orders.exec("psql", "-U", "postgres", "-d", orders.database, "-c", "CREATE TABLE t (x int)", check=True)
"""


def test_copies_are_in_memory_also_where_the_data_comes_from_a_snapshot(project: Project) -> None:
    project.conftest(POSTGRES % "", "orders = fresh(db)")
    project.tests(
        SQL,
        KIND,
        COPIED,
        CHANGE,
        """
        import time

        def test_one(orders, db):
            assert kind(db) == "overlayfs"
            assert space(db, orders.database) == "isolate_memory"

        def test_that_outlives_a_stop(orders, db):
            db.restart()
            assert space(db, orders.database) == "isolate_memory"
            change(orders)
        """,
    )
    project.tests("def test_it(db): pass", name="test_0_makes_the_snapshot.py")
    project.run("test_0_makes_the_snapshot.py").assert_outcomes(passed=1)
    project.run("test_it.py").assert_outcomes(passed=2)
    assert not project.objects()


def test_copies_for_which_memory_has_no_room_are_on_disk(project: Project) -> None:
    project.conftest(POSTGRES % "", "orders = fresh(db)")
    project.tests("def test_it(db): pass", name="test_0_makes_the_snapshot.py")
    project.tests(
        SQL,
        CHANGE,
        """
        import pytest, time

        @pytest.mark.parametrize("number", range(9))
        def test_it(orders, db, number):
            in_memory = "SELECT count(*) FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace"
            assert int(sql(db, in_memory + " WHERE spcname = 'isolate_memory'")) <= 3
            if number == 0:
                while int(sql(db, "SELECT count(*) FROM pg_database")) < 9:
                    time.sleep(0.05)
            change(orders)
        """,
    )
    project.run("test_0_makes_the_snapshot.py").assert_outcomes(passed=1)
    project.run("--isolate-in-memory=32m", "test_it.py").assert_outcomes(passed=9)
    assert not project.objects()
