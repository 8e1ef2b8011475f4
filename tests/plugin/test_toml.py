"""Declarations in TOML give the same containers as those in Python."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.programs import IMAGE, program

from plugin.conftest import Project, errors_of

SERVE = repr(program("serve 8000 hello"))


def to_toml(argv: list[str]) -> str:
    """A command line as a TOML array."""
    return "[" + ", ".join(f"'''\n{word}'''" for word in argv) + "]"


def asked_for(project: Project) -> list[dict[str, Any]]:
    """What was asked of the engine, without what is new in each run."""
    requests = []
    for request in project.journal.requests:
        kept = {key: value for key, value in request.items() if key not in ("name", "network", "volumes")}
        kept["ports"] = [port["inner"] for port in request["ports"]]
        kept["volumes"] = sorted((name.rpartition("-")[2], target) for name, target in request["volumes"].items())
        kept["labels"] = {k: v for k, v in request["labels"].items() if k.rpartition(".")[2] in ("stack", "service")}
        kept["env"] = {k: v for k, v in request["env"].items() if k != "PASSWORD"}
        requests.append(kept)
    project.journal.path.unlink()
    return sorted(requests, key=lambda r: (r["labels"]["pytest-isolate.stack"], r["labels"]["pytest-isolate.service"]))


PYTHON = """
db = service(
    IMAGE,
    command=program("serve 5432 rows"),
    port=5432,
    user="app",
    password="hidden",
    url="db://{user}:{password}@{host}:{port}",
    volumes={"data": "/var/lib/db"},
    files={"/etc/db.conf": "fsync = off\\n", "/etc/secret": {"text": "x", "mode": "0600"}},
    memory="64m",
    shm_size="16m",
    cpus=0.5,
    pids=50,
    cap_add=["NET_ADMIN"],
    new_privileges=True,
    timeout="20s",
)
web = service(
    IMAGE,
    command=program("serve 8000 hello"),
    ports=[8000, 8001],
    env={"DATABASE_URL": "{db.url}", "REALM": "head-office", "DEBUG": True, "WORKERS": 2},
    ready=[http("/", status=200), log("", times=1), tcp(8000)],
    needs=["db"],
)
hr = stack(
    db=service(db, memory="unlimited"),
    web=service(web, env={"REALM": "hr", "DEBUG": None}),
)
"""

TOML = f"""
[tool.pytest-isolate.services.db]
image = "{IMAGE}"
command = {to_toml(program("serve 5432 rows"))}
port = 5432
user = "app"
password = "hidden"
url = "db://{{user}}:{{password}}@{{host}}:{{port}}"
volumes = {{ data = "/var/lib/db" }}
memory = "64m"
shm_size = "16m"
cpus = 0.5
pids = 50
cap_add = ["NET_ADMIN"]
new_privileges = true
timeout = "20s"

[tool.pytest-isolate.services.db.files]
"/etc/db.conf" = "fsync = off\\n"
"/etc/secret" = {{ text = "x", mode = "0600" }}

[tool.pytest-isolate.services.web]
image = "{IMAGE}"
command = {to_toml(program("serve 8000 hello"))}
ports = [8000, 8001]
env = {{ DATABASE_URL = "{{db.url}}", REALM = "head-office", DEBUG = true, WORKERS = 2 }}
ready = [{{ http = {{ path = "/", status = 200 }} }}, {{ log = {{ pattern = "", times = 1 }} }}, {{ tcp = 8000 }}]
needs = ["db"]

[tool.pytest-isolate.stacks.hr]
db.memory = "unlimited"
web.env.REALM = "hr"
"""
TEST = "def test_it(hr, web, db): assert (hr.web.env['REALM'], web.env['REALM']) == ('hr', 'head-office')"


def test_toml_gives_the_same_containers_as_python(project: Project) -> None:
    project.tests(TEST)
    project.conftest(PYTHON.replace(', "DEBUG": None', ""))
    project.run().assert_outcomes(passed=1)
    in_python = asked_for(project)
    project.conftest()
    project.write("pyproject.toml", TOML)
    project.run().assert_outcomes(passed=1)
    in_toml = asked_for(project)
    assert len(in_toml) == 4
    assert in_toml == in_python


def test_isolate_toml_holds_the_same_tables_at_its_top(project: Project) -> None:
    project.tests(TEST)
    project.write("pyproject.toml", TOML)
    project.run().assert_outcomes(passed=1)
    in_pyproject = asked_for(project)
    (project.path / "pyproject.toml").unlink()
    project.write("isolate.toml", TOML.replace("tool.pytest-isolate.", ""))
    project.run().assert_outcomes(passed=1)
    assert asked_for(project) == in_pyproject


def test_pyproject_without_our_table_does_not_hide_isolate_toml(project: Project) -> None:
    project.write("pyproject.toml", "[tool.other]\nkey = 1\n")
    project.write("isolate.toml", f"[services.web]\nimage = '{IMAGE}'\ncommand = ['true']\nready = {{ log = '' }}\n")
    project.tests("def test_it(web): pass")
    assert project.run("--isolate-plan").ret == 0


def test_preset_in_toml_is_the_preset_in_python(project: Project) -> None:
    project.tests("def test_it(db): pass")
    changes = f'image = "{IMAGE}"\ncommand = {to_toml(program("serve 5432"))}\nready = {{ tcp = 5432 }}\n'
    project.write("isolate.toml", f'[services.db]\nuse = "postgres"\n{changes}')
    project.run().assert_outcomes(passed=1)
    in_toml = asked_for(project)
    (project.path / "isolate.toml").unlink()
    project.conftest("db = service(postgres(), image=IMAGE, command=program('serve 5432'), ready=tcp(5432))")
    project.run().assert_outcomes(passed=1)
    in_python = asked_for(project)
    for requests in (in_toml, in_python):
        assert len(requests[0]["env"].pop("POSTGRES_PASSWORD")) == 32
    assert in_toml == in_python
    assert in_toml[0]["env"].items() >= {"POSTGRES_USER": "postgres", "POSTGRES_DB": "postgres"}.items()


def test_use_of_another_service_is_a_changed_copy(project: Project) -> None:
    project.write(
        "isolate.toml",
        f"""
        [services.copy]
        use = "web"
        env = {{ B = "3" }}

        [services.web]
        image = "{IMAGE}"
        command = {to_toml(program("sleep 86400"))}
        env = {{ A = "1", B = "2" }}
        """,
    )
    project.tests("def test_it(web, copy): assert (web.env, copy.env) == ({'A': '1', 'B': '2'}, {'A': '1', 'B': '3'})")
    project.run().assert_outcomes(passed=1)


def test_stack_in_toml_holds_every_service_of_the_file(project: Project) -> None:
    project.write(
        "isolate.toml",
        f"""
        [services.web]
        image = "{IMAGE}"
        command = {to_toml(program("serve 18080 hello"))}
        port = 18080

        [services.db]
        use = "web"

        [stacks.hr]
        [stacks.sales]
        ports = "held"
        scope = "module"
        db.env.REALM = "sales"
        """.replace('use = "web"', f'use = "web"\n        command = {to_toml(program("serve 18080 rows"))}'),
    )
    project.tests(
        """
        def test_it(hr, sales):
            assert sorted(hr) == sorted(sales) == ["db", "web"]
            assert (hr.db.env, sales.db.env) == ({}, {"REALM": "sales"})
            assert hr.web.inside.address == sales.web.inside.address == "web:18080"
        """
    )
    project.run().assert_outcomes(passed=1)
    assert len(project.journal.requests) == 4


def test_relative_paths_are_those_of_the_file_that_declares(project: Project) -> None:
    project.write("image/Dockerfile", f'FROM {IMAGE}\nCMD ["echo", "built"]')
    project.write("settings/app.conf", "key = value\n")
    project.write(
        "isolate.toml",
        """
        [services.web]
        build = "image"
        ready = { log = "built" }
        files = { "/etc/app.conf" = { path = "settings/app.conf" } }
        timeout = 5
        """,
    )
    project.tests("def test_it(web): pass", name="deep/down/test_it.py")
    result = project.run("deep/down", f"--rootdir={project.path}")
    assert "there is no Dockerfile" not in result.stderr.str()
    (request,) = [args[0] for args in project.journal.calls("build_image")]
    assert request["context"] == str(project.path / "image")
    assert project.journal.calls("copy_into")


def test_service_of_conftest_wins_over_the_one_in_toml_in_its_folder(project: Project) -> None:
    project.write("isolate.toml", f"[services.web]\nimage = '{IMAGE}'\nenv = {{ FROM = 'toml' }}\n")
    project.conftest(
        "web = service(IMAGE, command=forever(), env={'FROM': 'python'})", name="sub/conftest.py", engine=""
    )
    project.tests("def test_it(web): assert web.env['FROM'] == 'python'", name="sub/test_it.py")
    project.run().assert_outcomes(passed=1)


def test_unreadable_toml_is_told_with_file_and_line(project: Project) -> None:
    project.write("isolate.toml", "[services.web\nimage = 1\n")
    project.tests("def test_it(): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = "\n".join(errors_of(result))
    assert "isolate.toml" in text
    assert "cannot be read as TOML" in text
    assert "line 1" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[service.web]\n", "unknown key 'service', did you mean 'services'?"),
        ("services = 3\n", "services: 3 is not a table"),
        ("[services]\nweb = 3\n", "services.web: 3 is not a table"),
        ("[services.web]\nimage = 'a:1'\n[stacks.hr.wbe]\n", "unknown service 'wbe', did you mean 'web'?"),
        ("[services.web]\nimage = 'a:1'\n[stacks.hr]\nweb = 3\n", "stacks.hr.web: 3 is not a table"),
        ("[services.web]\nimage = 'a:1'\n[stacks.web]\n", "'web' is the name of a service too"),
    ],
)
def test_file_that_is_wrong_as_a_whole_is_told_with_key_and_place(project: Project, text: str, expected: str) -> None:
    project.write("isolate.toml", text)
    project.tests("def test_it(): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = "\n".join(errors_of(result))
    assert expected in told
    assert "isolate.toml" in told
    assert "Traceback" not in told


def test_unreadable_toml_of_ours_is_told_without_isolate_too(project: Project) -> None:
    """The fixtures would be missing otherwise, which says less."""
    project.write("isolate.toml", "[services.web\n")
    project.tests("def test_it(): pass")
    assert project.run(isolate=False).ret == pytest.ExitCode.USAGE_ERROR


# -- variants ---------------------------------------------------------------------------------------------------------

VARIED = f"""
[tool.pytest-isolate.services.web]
image = "{IMAGE}"
command = {to_toml(program("serve 8000 hello"))}
port = 8000

[tool.pytest-isolate.services.next]
use = "web"
env.N = "next"

[tool.pytest-isolate.variants]
"""


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("web = ['web', 'next', 'registry.example/web:2']", ["web=web", "web=next", "web=web-2"]),
        ("web.old.env.N = 'old'\nweb.new = 'next'", ["web=old", "web=new"]),
        (
            "web = [{ use = 'next', env.N = '3' }, { use = 'postgres', image = 'p:1' }]",
            ["web=debian-bookworm-slim", "web=p-1"],
        ),
        ("mode = 'zip'\nweb = ['a:1', 'b:2']\nnext = ['c:3', 'd:4']", ["web=a-1", "web=b-2"]),
    ],
)
def test_variants_can_be_declared(project: Project, table: str, names: list[str]) -> None:
    project.write("pyproject.toml", VARIED, table)
    project.tests("def test_it(web): pass")
    result = project.run("--collect-only", "-q", isolate=False)
    assert [line for line in result.outlines if "::" in line] == [f"test_it.py::test_it[{name}]" for name in names]


def test_alternatives_run_as_declared(project: Project) -> None:
    project.write("pyproject.toml", VARIED, "web = { old = { env = { N = 'old' } }, new = 'next' }")
    project.tests(
        "def test_it(web, isolate_variants): assert (web.env['N'] == 'next') == (isolate_variants['web'] == 'new')"
    )
    project.run().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("wbe = ['a:1']", "unknown service 'wbe', did you mean 'web'?"),
        ("web = 'a:1'", "'a:1' is not a list of alternatives"),
        ("web = [1]", "1 is not an alternative of a service"),
        ("web = [{ use = 'nxt' }]", "unknown preset or service 'nxt' in use, did you mean 'next'?"),
        ("web = [{ imag = 'x:1' }]", "unknown key 'imag', did you mean 'image'?"),
        ("mode = 'zap'\nweb = ['a:1']", "'zap' is not a way to combine alternatives, did you mean 'zip'?"),
    ],
)
def test_wrong_variants_are_refused(project: Project, table: str, reason: str) -> None:
    project.write("pyproject.toml", VARIED, table)
    project.tests("def test_it(web): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any("pyproject.toml:" in line and reason in line for line in errors_of(result) + result.errlines)
    assert project.journal.is_empty
