"""fresh() in a run: who is given what, and what a wrong init says. The server is tests/fakes/bin/psql."""

from __future__ import annotations

import re

import pytest

from plugin.conftest import Project, errors_of

DB = """
db = service(
    postgres(image=IMAGE, command=program("serve 5432"), ready=http("/"), snapshot=None, password="x"), timeout=20
)
"""
ASK = """
def psql(service, text):
    engine = getattr(service, "base", service)._controls._engine
    result = engine.open_session(service.container_id, ["psql", "-c", text], {"PGDATABASE": service.database})
    try:
        output = b""
        while (piece := result.receive(10)) is not None:
            output += piece[1]
        assert result.exit_code() == 0, output
        return output.decode().split()
    finally:
        result.close()
"""
SCHEMA = "first\nsecond\n"


@pytest.fixture
def fresh(project: Project) -> Project:
    project.conftest(DB, 'orders = fresh(db, init="schema.sql")')
    project.write("schema.sql", SCHEMA)
    return project


def test_each_test_has_a_database_of_its_own_in_the_first_state(fresh: Project) -> None:
    fresh.tests(
        ASK,
        """
        seen = set()

        @pytest.mark.parametrize("number", range(30))
        def test_it(orders, number):
            assert orders.database not in seen
            seen.add(orders.database)
            assert psql(orders, "read") == ["first", "second"]
            psql(orders, "drop" if number % 2 else f"add own{number}")

        def test_the_base_is_as_it_was(orders, db):
            assert psql(db, "read") == []
            assert orders.base.container_id == db.container_id == orders.container_id
        """,
    )

    fresh.run().assert_outcomes(passed=31)
    fresh.journal.assert_nothing_is_left()


def test_workers_never_have_the_same_database(fresh: Project) -> None:
    # The fake engine of each worker is its own, and so is its server.
    fresh.conftest(DB.replace("timeout=20", "share='worker'"), 'orders = fresh(db, init="schema.sql")')
    fresh.tests(
        """
        @pytest.mark.parametrize("number", range(40))
        def test_it(orders, number, tmp_path):
            with open("given", "a") as file:
                file.write(orders.database + "\\n")
        """
    )

    fresh.run_xdist().assert_outcomes(passed=40)

    given = (fresh.path / "given").read_text().split()
    assert len(given) == len(set(given)) == 40


def test_the_handle_is_that_of_the_service_with_a_database_of_its_own(fresh: Project) -> None:
    fresh.tests(
        """
        def test_it(orders, db):
            assert isinstance(orders, FreshService)
            assert (orders.host, orders.port, orders.user, orders.password) == (db.host, db.port, db.user, db.password)
            assert orders.database != db.database
            assert orders.url == db.url.removesuffix(db.database) + orders.database
            assert orders.inside.url.endswith("/" + orders.database)
            assert orders.inside.host == "db"
            assert (orders.name, orders.base.name) == ("orders", "db")
            assert "orders" in repr(orders)

        @pytest.mark.parametrize("verb", ["stop", "start", "restart", "kill", "pause", "unpause"])
        def test_nobody_stops_the_server_of_others(orders, verb):
            with pytest.raises(IsolateError, match=rf"{verb}\\(\\) is not for 'orders': it is a database on"):
                getattr(orders, verb)()
        """
    )

    fresh.run().assert_outcomes(passed=7)


def test_a_copy_of_a_wider_scope_lives_as_long_as_that(fresh: Project) -> None:
    fresh.conftest(DB, 'orders = fresh(db, init="schema.sql", scope="module")')
    for name in ("test_one.py", "test_two.py"):
        fresh.tests(
            ASK,
            """
            def test_first(orders):
                psql(orders, "add mine")
            def test_second(orders):
                assert psql(orders, "read") == ["first", "second", "mine"]
            """,
            name=name,
        )

    fresh.run().assert_outcomes(passed=4)


def test_without_an_init_it_is_a_copy_of_the_service_as_it_started(fresh: Project) -> None:
    fresh.conftest(DB, "orders = fresh(db)")
    fresh.tests(
        ASK,
        """
        def test_first(db):
            psql(db, "add late")
        def test_second(orders):
            assert psql(orders, "read") == []
        """,
    )

    fresh.run().assert_outcomes(passed=2)


def test_a_base_that_is_no_fixture_is_a_hidden_service(fresh: Project) -> None:
    declaration = DB.strip().removeprefix("db = service(\n    ").removesuffix(", timeout=20\n)")
    fresh.conftest(f'orders = fresh({declaration}, init="schema.sql")')
    fresh.tests(ASK, "def test_it(orders): assert psql(orders, 'read') == ['first', 'second']")

    result = fresh.run()
    result.assert_outcomes(passed=1)
    assert "orders_base" in result.stdout.str()


def test_toml_declares_the_same(fresh: Project) -> None:
    fresh.conftest()
    fresh.write(
        "pyproject.toml",
        f"""
        [tool.pytest-isolate.services.db]
        use = "postgres"
        image = "debian:bookworm-slim"
        command = {list(map(str, ["perl", "-e", "sleep 1"]))!r}
        [tool.pytest-isolate.fresh.orders]
        base = "db"
        init = {{ command = ["migrate"] }}
        scope = "modul"
        """,
    )
    fresh.tests("def test_it(orders): pass")

    result = fresh.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any("orders.scope: 'modul' is not a scope" in line for line in errors_of(result))


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ('base = "dbs"', "unknown service or preset 'dbs' in base, did you mean 'db'?"),
        ("", "needs a base"),
    ],
)
def test_toml_names_a_wrong_base(project: Project, table: str, text: str) -> None:
    project.write("isolate.toml", f'[services.db]\nuse = "postgres"\n[fresh.orders]\n{table}\n')
    project.tests("def test_it(orders): pass")

    assert any(text in line for line in errors_of(project.run_subprocess()))


@pytest.mark.parametrize(
    ("init", "found"),
    [
        ('"schema.sql"', r"  found  schema\.sql:2: ERROR:  wrong\n +schema\.sql:2: STATEMENT:  WRONG statement"),
        ("migrate", r'File ".*conftest\.py", line \d+, in migrate\n +raise RuntimeError\("no such migration"\)'),
        ('command("sh", "-c", "echo oh no; exit 7")', r"  found  exit code 7; oh no"),
    ],
    ids=["file", "function", "command"],
)
def test_a_wrong_init_is_told_in_full_once(project: Project, init: str, found: str) -> None:
    project.conftest(
        DB,
        f"""
        def migrate(handle):
            raise RuntimeError("no such migration")
        orders = fresh(db, init={init})
        """,
    )
    project.write("schema.sql", "first\nWRONG statement\n")
    project.tests(
        """
        @pytest.mark.parametrize("number", range(4))
        def test_it(orders, number): pass
        def test_db(db): pass
        """
    )

    result = project.run()

    result.assert_outcomes(errors=4, passed=1)
    text = result.stdout.str()
    assert len(re.findall(found, text)) == 1, text
    assert (
        len(re.findall(r"^the init of 'orders' has failed; test_it\.py::test_it\[0\] tells how$", text, re.MULTILINE))
        == 3
    )
    assert re.search(r"  do     it is declared at .*conftest\.py:\d+", text)
    assert "pytest_isolate/" not in text
    project.journal.assert_nothing_is_left()


def test_who_is_known_only_by_getfixturevalue_is_told_what_to_do(fresh: Project) -> None:
    fresh.tests("def test_it(db, request): request.getfixturevalue('orders')")

    result = fresh.run()
    result.assert_outcomes(failed=1)
    assert "pytest.mark.usefixtures" in result.stdout.str()


def test_getfixturevalue_is_enough_where_another_test_names_it(fresh: Project) -> None:
    fresh.tests(
        """
        def test_named(orders): pass
        def test_other(request): request.getfixturevalue("orders")
        """
    )

    fresh.run().assert_outcomes(passed=2)


def test_without_isolate_tests_are_skipped(fresh: Project) -> None:
    fresh.tests("def test_it(orders): pass")

    fresh.run(isolate=False).assert_outcomes(skipped=1)


def test_each_variant_of_the_base_has_copies_of_its_own(fresh: Project) -> None:
    fresh.conftest(
        DB,
        """
        kinds = variants(db={"old": {"env": {"KIND": "old"}}, "new": {"env": {"KIND": "new"}}})
        orders = fresh(db, init="schema.sql", scope="module")
        """,
    )
    fresh.tests(
        ASK,
        """
        @pytest.mark.parametrize("number", range(2))
        def test_it(orders, number, kinds):
            assert orders.env["KIND"] == kinds["db"]
            assert psql(orders, "read") == ["first", "second", *["mine"] * number]
            psql(orders, "add mine")
        """,
    )

    fresh.run().assert_outcomes(passed=4)


def test_a_service_without_a_way_comes_whole_and_before_its_test(project: Project) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=program("serve 8000 hello"), port=8000)
        own = fresh(web)
        """
    )
    project.tests(
        """
        seen = set()

        @pytest.mark.parametrize("number", range(3))
        def test_it(own, web, number):
            assert own.container_id not in {*seen, web.container_id}
            seen.add(own.container_id)
        """
    )
    project.run().assert_outcomes(passed=3)
    assert project.journal.services.count("own") == 3
    assert project.journal.services.count("web") == 1
    project.journal.assert_nothing_is_left()
