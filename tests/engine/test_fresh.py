"""fresh() on real servers: true copies, neighbours, workers that die, what is kept and what is dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

ROOT = Path(__file__).parents[2]
DECLARE = f"""
def built(name, debian="bookworm"):
    context = {str(ROOT / "examples" / "services")!r} + "/" + name
    return {{"context": context, "network": "host", "args": {{"DEBIAN": debian}}}}
"""
POSTGRES = """
db = service(postgres(image=None, build=built("postgres"), database="app"))

def psql(service, text, database=""):
    argv = ["psql", "-v", "ON_ERROR_STOP=1", "-qAtU", "postgres", "-d", database or service.database, "-c", text]
    return service.exec(*argv, check=True).stdout.strip()
"""
SCHEMA = r"""
CREATE EXTENSION pg_trgm;
CREATE ROLE reader;
CREATE SCHEMA sales;
CREATE TABLE sales.item (n serial PRIMARY KEY, name text UNIQUE, price numeric CHECK (price > 0));
INSERT INTO sales.item (name, price) SELECT 'item ' || g, g FROM generate_series(1, 100) g;
CREATE VIEW sales.cheap AS SELECT name FROM sales.item WHERE price < 10;
CREATE MATERIALIZED VIEW sales.total AS SELECT sum(price) FROM sales.item;
CREATE INDEX ON sales.item USING gin (name gin_trgm_ops);
CREATE FUNCTION sales.double(x int) RETURNS int LANGUAGE sql AS 'SELECT 2 * x';
GRANT USAGE ON SCHEMA sales TO reader;
GRANT SELECT ON sales.cheap TO reader;
SELECT setval('sales.item_n_seq', 500);
SELECT lo_from_bytea(4711, 'a large object');
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I SET search_path TO sales, public', current_database());
  EXECUTE format('ALTER ROLE reader IN DATABASE %I SET work_mem TO %L', current_database(), '5MB');
  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;
"""
FACTS = '''
DUMP = ["pg_dump", "-U", "postgres"]
SETTINGS = """
    SELECT setrole::regrole, setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
    WHERE datname = current_database() ORDER BY 1
"""
RIGHTS = """
    SELECT datacl, pg_get_userbyid(datdba), encoding, datcollate FROM pg_database WHERE datname = current_database()
"""

def facts(service, database=""):
    """Everything that is in a database, and what belongs to it outside of it."""
    database = database or service.database
    dump = service.exec(*DUMP, database, check=True).stdout.splitlines()
    # A random word since the minor versions of August 2025.
    shown = [line for line in dump if not line.startswith((r"\\restrict", r"\\unrestrict"))]
    return shown, psql(service, SETTINGS, database), psql(service, RIGHTS, database)
'''


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_a_copy_of_postgres_is_a_true_one_and_neighbours_do_not_see_each_other(project: Project, release: str) -> None:
    project.write("schema.sql", SCHEMA)
    newer = f'db = service(db, build=built("postgres", {release!r}))'
    project.conftest(DECLARE, POSTGRES, newer, FACTS, 'orders = fresh(db, init="schema.sql")\nstock = fresh(db)')
    project.tests(
        "from conftest import facts, psql",
        f"SCHEMA = {SCHEMA!r}",
        """
        def test_the_same_as_made_by_hand(orders, db):
            psql(db, "CREATE DATABASE byhand TEMPLATE template0")
            psql(db, SCHEMA.replace("CREATE ROLE reader;", ""), "byhand")
            mine, theirs = facts(orders), facts(db, "byhand")
            assert mine == theirs
            assert "4711" in "".join(mine[0]) and "work_mem=5MB" in mine[1] and "search_path=sales" in mine[1]

        def drop_all(orders):
            psql(orders, "DROP SCHEMA sales CASCADE; DROP SCHEMA public CASCADE; SELECT lo_unlink(4711)")
            assert psql(orders, "SELECT count(*) FROM pg_class WHERE relname = 'item'") == "0"

        def test_one_drops_all(orders):
            drop_all(orders)

        def test_the_next_has_all(orders):
            assert psql(orders, "SELECT count(*) FROM item") == "100"
            assert psql(orders, "INSERT INTO item (name, price) VALUES ('x', 1) RETURNING n") == "501"
            drop_all(orders)

        def test_side_by_side(orders, stock, db):
            drop_all(orders)
            assert psql(stock, "SELECT count(*) FROM pg_class WHERE relname = 'item'") == "0"
            assert psql(db, "SELECT count(*) FROM pg_class WHERE relname = 'item'") == "0"

        def test_templates_are_closed(db):
            closed = "FROM pg_database WHERE datname ~ '^isolate_' AND datistemplate AND NOT datallowconn"
            assert psql(db, f"SELECT count(*) {closed}") == "2"

        def test_a_holder_without_a_connection_keeps_his(orders, request):
            name = orders.database
            psql(orders, "TRUNCATE item")
            for _ in range(3):
                assert psql(orders, "SELECT count(*) FROM item") == "0"
            assert orders.database == name
        """,
    )

    project.run().assert_outcomes(passed=6)


@pytest.mark.slow
def test_workers_share_a_template_and_one_that_dies_leaves_nothing_for_others(project: Project) -> None:
    project.conftest(
        DECLARE,
        POSTGRES,
        """
        def migrate(handle):
            with open("ran", "a") as file:
                file.write("once ")
            psql(handle, "CREATE TABLE t AS SELECT 1 AS x")
        orders = fresh(db, init=migrate)
        """,
    )
    project.tests(
        """
        import os, time
        from pathlib import Path
        from conftest import psql

        @pytest.mark.parametrize("number", range(16))
        def test_it(orders, number, worker_id):
            with open("given", "a") as file:
                file.write(f"{orders.database}\\n")
            assert psql(orders, "SELECT count(*) FROM t") == "1"
            psql(orders, "DROP TABLE t")
            if number == 5:
                Path("dead").write_text(worker_id)
                os._exit(1)
            if number == 15:
                dead = Path("dead").read_text()
                for _ in range(300):  # a keeper looks for what the dead have left every 20 s
                    left = psql(orders, f"SELECT count(*) FROM pg_database WHERE datname LIKE '%{dead}%'")
                    if left == "0":
                        break
                    time.sleep(0.1)
                assert left == "0"
        """
    )

    result = project.run("-n2", "--dist=load", "--maxschedchunk=1")

    result.assert_outcomes(passed=15, failed=1)
    assert (project.path / "ran").read_text() == "once "
    given = (project.path / "given").read_text().split()
    assert len(given) == len(set(given)) == 16


@pytest.mark.slow
def test_what_is_kept_keeps_its_templates_and_no_copies(project: Project, docker_client: Any) -> None:
    project.write("schema.sql", "CREATE TABLE t AS SELECT 1 AS x;")
    project.env["XDG_CACHE_HOME"] = str(project.path / "cache")
    project.conftest(DECLARE, POSTGRES, 'orders = fresh(db, init="schema.sql")')
    project.tests(
        """
        from conftest import psql
        def test_it(orders):
            assert psql(orders, "SELECT count(*) FROM t") == "1"
            names = psql(orders, "SELECT string_agg(datname, ' ') FROM pg_database WHERE datname LIKE 'isolate%'")
            print("NAMES", [n for n in names.split() if "copy" not in n or n.split("_")[2] not in orders.database])
        """
    )
    arguments = ["--isolate-reuse", f"--isolate-project={project.path}", "--isolate-no-cache", "-rP"]
    try:
        for _ in range(2):
            result = project.run(*arguments)
            result.assert_outcomes(passed=1)
            (names,) = [line for line in result.outlines if line.startswith("NAMES")]
            assert names.count("template") == 1
            assert "copy" not in names
        assert "1 reused" in result.stdout.str()
    finally:
        project.left.remove(project.objects())


@pytest.mark.slow
def test_mariadb_is_copied_with_all_that_belongs_to_it(project: Project) -> None:
    project.write(
        "shop.sql",
        """
        CREATE TABLE item (n int PRIMARY KEY AUTO_INCREMENT, name varchar(20)) AUTO_INCREMENT = 7;
        CREATE TABLE part (item int, FOREIGN KEY (item) REFERENCES item (n) ON DELETE CASCADE);
        INSERT INTO item (name) VALUES ('a;b'), ('ü');
        INSERT INTO part VALUES (7);
        CREATE VIEW names AS SELECT name FROM item;
        CREATE TRIGGER loud BEFORE INSERT ON item FOR EACH ROW SET NEW.name = CONCAT(NEW.name, '!');
        CREATE EVENT never ON SCHEDULE AT '2037-01-01' DO SELECT 1;
        DELIMITER //
        CREATE PROCEDURE hello() BEGIN SELECT 'hello'; END //
        DELIMITER ;
        """,
    )
    project.conftest(
        DECLARE,
        """
        db = service(mariadb(image=None, build=built("mariadb")), timeout=90)
        shop = fresh(db, init="shop.sql")

        def ask(service, text):
            login = ["-h", "127.0.0.1", f"-u{service.user}", f"-p{service.password}", service.database]
            return service.exec("mariadb", "-NB", *login, "-e", text, check=True).stdout.split()
        """,
    )
    project.tests(
        """
        from conftest import ask

        @pytest.mark.parametrize("number", range(4))
        def test_it(shop, db, number):
            assert ask(shop, "SELECT name FROM names ORDER BY name; CALL hello()") == ["a;b", "ü", "hello"]
            ask(shop, "INSERT INTO item (name) VALUES ('c')")
            assert ask(shop, "SELECT n, name FROM item WHERE name = 'c!'") == ["9", "c!"]
            assert ask(shop, "DELETE FROM item WHERE n = 7; SELECT count(*) FROM part") == ["0"]
            assert "never" in ask(shop, "SHOW EVENTS")
            assert ask(db, "SHOW TABLES") == []
            ask(shop, "DROP TABLE part, item")
        """
    )

    project.run().assert_outcomes(passed=4)


@pytest.mark.slow
def test_redis_is_copied_with_the_time_that_its_keys_have_left(project: Project) -> None:
    project.write("redis/Dockerfile", (ROOT / "benchmarks" / "images" / "redis" / "Dockerfile").read_text())
    project.conftest(
        """
        cache = service(
            redis(image=None, build={"context": "redis", "network": "host"}),
            command=["redis-server", "--databases", "16", "--save", "", "--requirepass", "{self.password}"],
        )

        def ask(service, *words):
            login = ["-a", service.password, "-n", service.database]
            return service.exec("redis-cli", *login, *words, check=True).stdout.split()

        def fill(handle):
            with open("ran", "a") as file:
                file.write("once ")
            ask(handle, "MSET", "a", "1", "b", "it's 2")
            ask(handle, "RPUSH", "list", "x", "y")
            ask(handle, "SET", "soon", "1", "EX", "1000")
        keys = fresh(cache, init=fill)
        """
    )
    project.tests(
        """
        from conftest import ask

        # Of 16 databases, two workers hand out more copies than that.
        @pytest.mark.parametrize("number", range(20))
        def test_it(keys, number):
            with open("given", "a") as file:
                file.write(keys.database + " ")
            assert keys.url.endswith(f":{keys.port}/{keys.database}")
            assert ask(keys, "DBSIZE") == ["4"]
            assert ask(keys, "LRANGE", "list", "0", "-1") == ["x", "y"]
            assert 900 < int(ask(keys, "TTL", "soon")[0]) <= 1000
            ask(keys, "DEL", "a")
            ask(keys, "SET", f"own{number}", "1")
        """
    )

    project.run("-n2").assert_outcomes(passed=20)

    assert (project.path / "ran").read_text() == "once "
    assert set((project.path / "given").read_text().split()) <= {str(n) for n in range(1, 15)}
