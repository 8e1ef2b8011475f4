"""The table env: variables that say where services will be, set before anything of the project is imported."""

from __future__ import annotations

import json
import os

import pytest
from fakes.programs import IMAGE, program

from plugin.conftest import ENGINE, Project, errors_of

WEB = f"""
[services.web]
image = "{IMAGE}"
command = {json.dumps(program("serve 8000 hello", "serve 9000 hello"))}
ports = [8000, 9000]
user = "me@home"
password = "random"
url = "http://{{user}}:{{password}}@{{host}}:{{port}}"
ready = {{ http = "/" }}
timeout = 20
"""
ENV = """
[env]
WEB_URL = "{web.url}"
WEB_PLACE = "at {web.host}:{web.port}, {{web.port}}"
"""
# At import time, as settings are read.
READ = """
import os
URL, PLACE = os.environ["WEB_URL"], os.environ["WEB_PLACE"]
"""
ASKING = """
import urllib.request
from conftest import PLACE, URL

def test_it(web):
    assert URL == web.url == f"http://me%40home:{web.password}@{web.address}"
    assert PLACE == f"at {web.host}:{web.port}, {{web.port}}"
    assert urllib.request.urlopen(f"http://{web.address}", timeout=60).read() == b"hello"
"""


def declare(project: Project, toml: str, *conftest: str, asking: str = ASKING) -> None:
    project.write("isolate.toml", toml)
    project.conftest(READ, *conftest, engine=ENGINE)
    project.tests(asking)


def test_variables_are_set_before_anything_is_imported(project: Project) -> None:
    declare(project, WEB + ENV)
    project.run().assert_outcomes(passed=1)
    project.journal.assert_nothing_is_left()
    assert "WEB_URL" not in os.environ


def test_variables_of_the_user_are_put_back(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_URL", "mine")
    declare(project, WEB + ENV)
    project.run().assert_outcomes(passed=1)
    assert os.environ["WEB_URL"] == "mine"


def test_variables_are_left_alone_without_services(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_URL", "mine")
    monkeypatch.setenv("WEB_PLACE", "mine")
    declare(project, WEB + ENV, asking="from conftest import URL\ndef test_it():\n    assert URL == 'mine'")
    project.run(isolate=False).assert_outcomes(passed=1)


def test_workers_have_the_same(project: Project) -> None:
    declare(project, WEB + ENV)
    project.run_xdist().assert_outcomes(passed=1)


def test_other_address_of_this_host(project: Project) -> None:
    declare(project, WEB + ENV)
    project.run("--isolate-bind=127.0.0.7").assert_outcomes(passed=1)


def test_a_test_with_an_override_has_a_service_of_its_own_beside_it(project: Project) -> None:
    overridden = """
    import pytest

    @pytest.mark.isolate(web={"env": {"A": "1"}})
    def test_other(web):
        assert web.url != URL
    """
    declare(project, WEB + ENV)
    project.tests(ASKING, overridden)
    project.run().assert_outcomes(passed=2)


@pytest.mark.parametrize("option", ["--isolate-plan", "--collect-only"])
def test_looking_sets_them_too_and_starts_nothing(project: Project, option: str) -> None:
    declare(project, WEB + ENV)
    assert project.run(option).ret == pytest.ExitCode.OK
    assert project.journal.is_empty


@pytest.mark.parametrize(
    ("toml", "texts"),
    [
        ('[env]\nX = "{wbe.url}"', ["isolate.toml:11: env.X: unknown service 'wbe'", "did you mean 'web'?"]),
        (
            '[env]\nX = "{web.urls}"',
            ["unknown placeholder {web.urls}, did you mean 'url'?", "host, port, address"],
        ),
        ("[env]\nX = 5", ["isolate.toml: env.X: 5 is not a text"]),
        ('[env]\nX = "{web.port}"\n[services.other]\nimag = "x"', ["isolate.toml:13: other.imag: unknown key 'imag'"]),
        ('[env]\nX = "{mute.port}"\n[services.mute]\nimage = "x"', ["{mute.port}", "none: this service has no port"]),
        ('[enw]\nX = "{web.url}"', ["unknown key 'enw', did you mean 'env'?"]),
    ],
)
def test_wrong_variables_end_the_run_at_once(project: Project, toml: str, texts: list[str]) -> None:
    declare(project, f"{WEB}{toml}\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = result.stderr.str()
    assert [text for text in texts if text not in said] == [], said


@pytest.mark.parametrize(
    ("more", "conftest", "args", "found"),
    [
        ('scope = "module"', "", (), "its scope is 'module'"),
        ('share = "worker"', "", (), "its share 'worker'"),
        ('reset = { command = ["true"] }', "", (), "its share 'worker'"),
        ("", "", ("--isolate-reuse",), "with --isolate-reuse it is where an earlier run has started it"),
        ("", "", ("--isolate-variant=web=other:1",), "it has variants"),
        ("", "versions = variants(web=['a:1', 'b:1'])", (), "it has variants"),
    ],
)
def test_what_is_not_at_one_known_address_is_refused(
    project: Project, more: str, conftest: str, args: tuple[str, ...], found: str
) -> None:
    declare(project, f"{WEB}{more}\n{ENV}", conftest)
    result = project.run(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = "\n".join(errors_of(result))
    assert "cannot say where 'web' is" in said
    assert found in said
    assert project.journal.is_empty


def test_what_is_refused_is_told_by_workers_too(project: Project) -> None:
    declare(project, f'{WEB}scope = "module"\n{ENV}')
    result = project.run_xdist()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*cannot say where 'web' is*"])


# -- stand-ins: settings are read by runs without services too ---------------------------------------------------------

DATABASE = """
[services.pg]
use = "postgres"
image = "postgres:16"

[env]
WEB_URL = "{pg.url}"
WEB_PLACE = "{pg.host}:{pg.port} {pg.address} {pg.user} {pg.database} {pg.password}"
"""
LEADS_NOWHERE = """
import os
from urllib.parse import urlsplit
from conftest import PLACE, URL

def test_settings():
    parts = urlsplit(URL)
    assert (parts.scheme, parts.hostname, parts.path) == ("postgresql", "127.0.0.1", "/postgres")
    assert PLACE == f"127.0.0.1:{parts.port} 127.0.0.1:{parts.port} postgres postgres {parts.password}"
    with pytest.raises(ConnectionRefusedError):
        import socket
        socket.create_connection((parts.hostname, parts.port), timeout=60)
"""


@pytest.mark.parametrize("args", [(), ("--collect-only",)])
def test_without_services_missing_variables_lead_nowhere(project: Project, args: tuple[str, ...]) -> None:
    declare(project, DATABASE, asking=LEADS_NOWHERE)
    result = project.run(*args, isolate=False)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=0 if args else 1)
    assert not {"WEB_URL", "WEB_PLACE"} & set(os.environ)


def test_stand_ins_are_the_same_in_workers_and_in_every_run(project: Project) -> None:
    note = "\nimport pathlib, os\npathlib.Path(f'seen-{os.getpid()}').write_text(f'{URL} {PLACE}')"
    declare(project, DATABASE, note, asking=LEADS_NOWHERE)
    for _ in range(2):
        project.run_xdist(isolate=False).assert_outcomes(passed=1)
    seen = [path.read_text() for path in project.path.glob("seen-*")]
    assert len(seen) > 3
    assert len(set(seen)) == 1


def test_variables_of_the_user_come_before_stand_ins(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_URL", "mine")
    asking = (
        "from conftest import *\ndef test_it():\n    assert URL == 'mine'\n    assert PLACE.startswith('127.0.0.1:')"
    )
    declare(project, DATABASE, asking=asking)
    project.run(isolate=False).assert_outcomes(passed=1)
    assert os.environ["WEB_URL"] == "mine"


def test_what_concerns_no_variable_is_not_told_by_runs_without_services(project: Project) -> None:
    declare(project, f'{DATABASE}\n[services.built]\nbuild = "not-there-yet"\n', asking=LEADS_NOWHERE)
    project.run(isolate=False).assert_outcomes(passed=1)


def test_variable_without_a_stand_in_ends_a_run_without_services(project: Project) -> None:
    declare(project, '[services.pg]\nuse = "postgres"\n[env]\nX = "{pgg.url}"\n')
    result = project.run(isolate=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "isolate.toml:3: env.X: unknown service 'pgg' in {pgg.url}, did you mean 'pg'?" in result.stderr.str()


@pytest.mark.parametrize("is_set", [True, False])
def test_runs_without_services_import_no_more_where_nothing_is_missing(project: Project, is_set: bool) -> None:
    toml = WEB.replace("timeout", 'env = { A = "b" }\ntimeout') + (ENV if is_set else "")
    project.write("isolate.toml", toml)
    project.write(
        "conftest.py",
        """
        import sys
        def pytest_sessionfinish():
            names = ("variables", "environment")
            print("imported:", [n for n in names if f"pytest_isolate.plugin.declaring.{n}" in sys.modules])
            print("running:", [n for n in sys.modules if n.startswith("pytest_isolate.running")])
        """,
    )
    project.write("test_it.py", "def test_it(): pass")
    variables = {"WEB_URL": "mine", "WEB_PLACE": "mine"} if is_set else {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        said = project.run_subprocess("-p", "no:xdist", isolate=False).stdout.str()
    assert "imported: []" in said
    assert "running: []" in said
