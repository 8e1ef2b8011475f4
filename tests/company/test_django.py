"""With pytest-django: settings know where services are before Django reads them, and before these have started."""

from __future__ import annotations

import json
import re

import pytest
from fakes.programs import IMAGE, program

from company.conftest import TESTS, Project

pytest.importorskip("pytest_django")
COMPANIONS = ("django", "xdist")
GREETER = f"""
[services.greeter]
image = "{IMAGE}"
command = {json.dumps(program("serve 8000 hello"))}
port = 8000
user = "app"
password = "random"
url = "http://{{user}}:{{password}}@{{host}}:{{port}}"
ready = {{ http = "/" }}
timeout = 20
"""
ENV = '[env]\nGREETER_URL = "{greeter.url}"\n'
POSTGRES = f"""
[services.pg]
use = "postgres"
build = {{ context = "{TESTS.parent}/examples/services/postgres", network = "host" }}

[env]
DATABASE_URL = "{{pg.url}}"
"""


def declare(project: Project, toml: str) -> None:
    (project.path / "isolate.toml").write_text(toml)


def refused(result: pytest.RunResult) -> str:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return result.stderr.str()


def test_settings_have_the_address_before_django_reads_them(project: Project) -> None:
    declare(project, GREETER + ENV)
    result = project.run()
    result.assert_outcomes(passed=5)
    assert project.journal.services == ["greeter"]
    project.journal.assert_nothing_is_left()


def test_what_needs_no_service_starts_none(project: Project) -> None:
    declare(project, GREETER + ENV)
    project.run("-k", "WithoutServices").assert_outcomes(passed=1, deselected=4)
    assert project.journal.is_empty


def test_without_services_the_variable_is_the_users_own(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(project, GREETER + ENV)
    monkeypatch.setenv("GREETER_URL", "http://app@127.0.0.1:1")
    project.run(isolate=False).assert_outcomes(passed=2, skipped=3)


def test_name_of_a_fixture_of_pytest_django_is_refused(project: Project) -> None:
    declare(project, GREETER + ENV + GREETER.replace("services.greeter", "services.db"))
    assert "db: the fixture name 'db' is reserved by pytest or pytest-django" in refused(project.run())


@pytest.mark.engine
@pytest.mark.usefixtures("real_engine")
@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_django_uses_a_real_postgres(project_with_postgres: Project, workers: tuple[str, ...]) -> None:
    result = project_with_postgres.run(*workers, fake=False)
    result.assert_outcomes(passed=5)
    assert re.search(r"1 service started|isolate: 1 service", result.stdout.str())


@pytest.mark.engine
def test_django_skips_without_services(project_with_postgres: Project) -> None:
    project_with_postgres.run(isolate=False, fake=False).assert_outcomes(skipped=5)


@pytest.fixture
def project_with_postgres(request: pytest.FixtureRequest, pytester: pytest.Pytester) -> Project:
    pytest.importorskip("psycopg")
    request.getfixturevalue("monkeypatch").setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    project = Project(pytester, "django_postgres", COMPANIONS)
    declare(project, POSTGRES)
    return project
