"""Compose files as stacks: what tests are handed, how often a file runs side by side, and what is refused."""

from __future__ import annotations

import json

import pytest
from fakes.programs import IMAGE, program

from plugin.conftest import Project, errors_of


def command(*steps: str) -> str:
    """A program's command line for a Compose file."""
    return json.dumps([word.replace("$", "$$") for word in program(*steps)])


SHOP = f"""
services:
  web:
    image: {IMAGE}
    command: {command("serve 8000 hello")}
    container_name: shop-web
    restart: always
    ports: ["8080:8000"]
    environment:
      GREETING: ${{GREETING:-hello}}
      LITERAL: '{{"a": "{{db.url}}"}}'
    depends_on:
      prepare: {{condition: service_completed_successfully}}
      main-db: {{condition: service_healthy}}
    volumes: ["made:/made:ro", "./greeting.txt:/srv/greeting.txt"]
  prepare:
    image: {IMAGE}
    command: {command("write /made/it yes")}
    volumes: ["made:/made"]
  main-db:
    image: {IMAGE}
    command: {command("serve 5432 rows")}
    expose: ["5432"]
    healthcheck:
      test: {command("fetch localhost 5432")}
  spare:
    image: {IMAGE}
    profiles: [spare]
volumes:
  made:
"""
SHOP = SHOP.replace("test: [", 'test: ["CMD", ')
GET = """
from urllib.request import urlopen
def get(service, path="/"):
    with urlopen(f"http://{service.address}{path}", timeout=60) as answer:
        return answer.read().decode()
"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with a Compose file, declared by nothing yet."""
    project.write("compose.yaml", SHOP)
    project.write("greeting.txt", "good morning")
    return project


def test_one_file_runs_twice_side_by_side(shop: Project) -> None:
    shop.conftest(
        """
        shop = compose("compose.yaml")
        other = compose("compose.yaml", env={"GREETING": "bonjour"})
        """
    )
    shop.tests(
        GET,
        """
        def test_each_has_its_own(shop, other):
            assert get(shop.web, "/env/GREETING") == "hello"
            assert get(other.web, "/env/GREETING") == "bonjour"
            assert get(shop.web, "/fetch/main-db/5432") == "rows"
            assert get(other.main_db, "/fetch/shop-web/8000") == "hello"
            assert shop.web.port != other.web.port
            assert shop.web.port_of(8000) != 8080
        def test_what_is_inside(shop):
            assert shop.web.exec(*program("read /srv/greeting.txt")).stdout == "good morning"
            assert shop.web.exec(*program("read /made/it")).stdout == "yes\\n"
            assert shop.web.env["LITERAL"] == '{"a": "{db.url}"}'
            assert list(shop) == ["web", "prepare", "main_db"]
        """,
    )

    shop.run().assert_outcomes(passed=2)
    assert sorted(shop.journal.services) == ["main_db", "main_db", "prepare", "prepare", "web", "web"]
    shop.journal.assert_nothing_is_left()


def test_a_table_in_toml_says_the_same(shop: Project) -> None:
    shop.write(
        "isolate.toml",
        """
        [compose.shop]
        files = "compose.yaml"
        env = { GREETING = "salut" }
        profiles = ["spare"]
        changes = { spare = { ready = { ended = true }, command = ["true"] } }
        """,
    )
    shop.tests(
        GET,
        """
        def test_it(shop):
            assert get(shop.web, "/env/GREETING") == "salut"
            assert "spare" in shop
        """,
    )

    shop.run().assert_outcomes(passed=1)


def test_single_services_have_fixtures_of_their_own(shop: Project) -> None:
    """Who asks for one of them starts what it needs, and no more."""
    shop.conftest(
        """
        shop = compose("compose.yaml")
        db = member(shop, "main-db")
        other = stack(one=service(IMAGE, command=program("serve 80 one"), port=80), two=service("no/such:image"))
        one = member(other, "one")
        """
    )
    shop.tests(
        GET,
        """
        def test_it(db): assert get(db) == "rows"
        def test_one(one): assert get(one) == "one"
        """,
        name="test_a.py",
    )
    shop.run().assert_outcomes(passed=2)
    assert sorted(shop.journal.services) == ["main_db", "one"]

    shop.tests("def test_it(db, shop): assert db.container_id == shop.main_db.container_id", name="test_b.py")
    shop.run("test_b.py").assert_outcomes(passed=1)


def test_single_services_are_named_in_toml_too(shop: Project) -> None:
    shop.write("isolate.toml", '[compose.shop]\nfiles = "compose.yaml"\nfixtures = ["main-db"]\n')
    shop.tests(GET, 'def test_it(main_db): assert get(main_db) == "rows"')

    shop.run().assert_outcomes(passed=1)
    assert shop.journal.services == ["main_db"]


def test_what_is_no_service_of_a_stack_is_told(shop: Project) -> None:
    shop.conftest(
        """
        shop = compose("compose.yaml")
        db = member(shop, "maindb")
        web = member("shop", "web")
        """
    )
    shop.tests("def test_it(db, web): pass")

    told = "\n".join(errors_of(shop.run()))
    assert "db: stack shop has no service 'maindb', did you mean 'main_db'?" in told
    assert "web: 'shop' is not a stack that is declared here" in told


def test_what_is_wrong_and_what_cannot_be_honoured_is_told_with_its_line(project: Project) -> None:
    project.write(
        "compose.yaml",
        f"""
        services:
          web:
            image: {IMAGE}
            network_mode: host
            imgae: x
            volumes: [unknown:/data]
        """.lstrip("\n"),
    )
    project.conftest('shop = compose("compose.yaml")')
    project.tests("def test_it(shop): pass")

    result = project.run()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in errors_of(result) if "compose.yaml" in line] == [
        "compose.yaml:4: services.web.network_mode: cannot be honoured: the network mode 'host': its ports are those "
        "of the host, and other services do not find it by its name",
        "compose.yaml:5: services.web.imgae: unknown key 'imgae', did you mean 'image'?",
        "compose.yaml:6: services.web.volumes[0]: the volume 'unknown' is not declared",
    ]
    assert [line.strip() for line in result.outlines + result.errlines if "allow=" in line] == [
        'do     allow=["host-network"] permits it: 1 of 1 service needs that permission'
    ]
    assert project.journal.is_empty


def test_permissions_are_given_in_toml_too(project: Project) -> None:
    project.write(
        "compose.yaml",
        f"""
        services:
          agent:
            image: {IMAGE}
            command: {command("serve 80 x")}
            privileged: true
            volumes: ["/var/run/docker.sock:/var/run/docker.sock:ro"]
        """,
    )
    project.write("isolate.toml", '[compose.shop]\nfiles = "compose.yaml"\nallow = ["privileged", "docker.sock"]\n')
    project.tests("def test_it(shop): pass")

    project.run().assert_outcomes(passed=1)
    settings = project.journal.requests[0]["settings"]
    assert settings["privileged"]
    assert settings["binds"] == [["/var/run/docker.sock", "/var/run/docker.sock:ro"]]


def test_services_are_found_by_the_names_that_the_file_has_for_them(project: Project) -> None:
    serve = command("serve 80 x")
    project.write(
        "compose.yaml",
        f"""
        services:
          main-db: {{image: {IMAGE}, command: {serve}, expose: [80]}}
          7zip: {{image: {IMAGE}, command: {serve}, expose: [80]}}
          import: {{image: {IMAGE}, command: {serve}, expose: [80]}}
        """,
    )
    project.conftest('shop = compose("compose.yaml")\nzip_ = member(shop, "7zip")')
    project.tests(
        """
        def test_it(shop, zip_):
            assert shop["main-db"] is shop.main_db
            assert shop["7zip"] is shop._7zip
            assert shop["import"] is shop.import_
            assert zip_.container_id == shop["7zip"].container_id
        """
    )
    project.run().assert_outcomes(passed=1)


def test_what_differs_from_docker_compose_is_a_warning(project: Project) -> None:
    project.write(
        "compose.yaml",
        f"""
        services:
          web:
            image: {IMAGE}
            command: {command("serve 80 x")}
            ports: ["80", "53:53/sctp"]
        """,
    )
    project.conftest('shop = compose("compose.yaml")')
    project.tests("def test_it(shop): pass")

    result = project.run("-W", "default::pytest_isolate.IsolateWarning")

    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*compose.yaml:6: IsolateWarning: services.web.ports?1?: a port of sctp is not *"])


def test_what_cannot_be_honoured_may_be_a_warning(project: Project) -> None:
    project.write(
        "compose.yaml",
        f"services:\n  web:\n    image: {IMAGE}\n    privileged: true\n    command: {command('sleep 99')}\n",
    )
    project.conftest('shop = compose("compose.yaml", unsupported="warn")')
    project.tests("def test_it(shop): pass")

    result = project.run("-W", "default::pytest_isolate.IsolateWarning")

    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*compose.yaml:4: IsolateWarning: services.web.privileged: cannot be honoured: *"])
    assert not project.journal.requests[0]["cap_add"].count("ALL")


def test_a_warning_is_an_error_where_filters_say_so(project: Project) -> None:
    project.write("compose.yaml", f"services:\n  web:\n    image: {IMAGE}\n    command: echo $UNKNOWN\n")
    project.conftest('shop = compose("compose.yaml")')
    project.tests("def test_it(shop): pass")

    result = project.run("-W", "error")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = "compose.yaml:4: services.web.command: the variable UNKNOWN has no value, and leaves an empty text"
    assert told in errors_of(result)


def test_without_isolate_the_files_are_not_even_read(project: Project) -> None:
    project.conftest('shop = compose("missing.yaml")')
    project.tests(
        """
        import sys
        def test_it(shop): pass
        def test_nothing_is_loaded(): assert "yaml" not in sys.modules
        """
    )

    project.run_subprocess(isolate=False).assert_outcomes(skipped=1, passed=1)


def test_a_file_that_is_missing_is_told(project: Project) -> None:
    project.conftest('shop = compose("missing.yaml")')
    project.tests("def test_it(shop): pass")

    assert any("missing.yaml cannot be read: no such file" in line for line in errors_of(project.run()))


def test_a_test_may_change_a_service(shop: Project) -> None:
    shop.conftest('shop = compose("compose.yaml")')
    shop.tests(
        GET,
        """
        @pytest.mark.isolate(shop={"web": {"env": {"GREETING": "hi"}}})
        def test_it(shop):
            assert get(shop.web, "/env/GREETING") == "hi"
            assert get(shop.web, "/fetch/main-db/5432") == "rows"
        """,
    )

    shop.run().assert_outcomes(passed=1)


def test_fixtures_are_listed_with_their_files(shop: Project) -> None:
    shop.conftest('shop = compose("compose.yaml", "more.yaml")')

    shop.run("--fixtures").stdout.fnmatch_lines(["*Stack of the services of compose.yaml, more.yaml (declared at *"])
