"""What cannot be right ends the run with exit code 4 before anything starts: where, which key, which value, what would
be right, and the nearest match."""

from __future__ import annotations

import pytest

from plugin.conftest import Project, errors_of

# What is wrong, written in Python and in TOML, and what must be told about it.
PYTHON = {
    "unknown key": (
        "web = service(IMAGE, prot=8000)",
        ["web.prot: unknown key 'prot', did you mean 'port'?", "valid  build, cap_add, command,"],
    ),
    "unknown base": (
        "web = service(3.5)",
        ["web: 3.5 cannot be the base of a service", "valid  a preset such as postgres('16')"],
    ),
    "no image and no build": (
        "web = service(port=8000)",
        ["web: no image and no build", "valid  image='name:tag' or build='folder with a Dockerfile'"],
    ),
    "port out of range": (
        "web = service(IMAGE, port=70000)",
        ["web.port: 70000 is not a port", "valid  a whole number from 1 to 65535"],
    ),
    "port that is a text": (
        "web = service(IMAGE, ports=['http'])",
        ["web.ports: 'http' is not a port", "valid  a whole number from 1 to 65535"],
    ),
    "unknown service in a placeholder": (
        "orders = service(IMAGE)\nweb = service(IMAGE, env={'URL': '{oders.host}'})",
        ["web.env.URL: unknown service 'oders' in {oders.host}, did you mean 'orders'?", "valid  orders, self"],
    ),
    "unknown attribute in a placeholder": (
        "db = service(IMAGE, port=5432)\nweb = service(IMAGE, env={'URL': '{db.ulr}'})",
        ["web.env.URL: unknown placeholder {db.ulr}, did you mean 'url'?", "valid  host, port, address, url"],
    ),
    "circle": (
        """
        a = service(IMAGE, env={'X': '{b.host}'})
        b = service(IMAGE, env={'X': '{c.host}'})
        c = service(IMAGE, env={'X': '{a.host}'})
        """,
        ["the services need each other in a circle: ", " -> "],
    ),
    "Dockerfile that is not there": (
        "web = service(build='no/such/folder')",
        [
            "web.build: there is no Dockerfile at",
            "no/such/folder/Dockerfile",
            "valid  a folder with a Dockerfile in it",
        ],
    ),
    "memory that is no size": (
        "web = service(IMAGE, memory='lots')",
        ["web.memory: 'lots' is not a size", "valid  a number of bytes, or a text such as '256m'"],
    ),
    "memory that is too small": (
        "web = service(IMAGE, memory='1m')",
        ["web.memory: '1m' is less than a container can start with (6 MiB)"],
    ),
    "scope that is none": (
        "web = service(IMAGE, scope='modul')",
        [
            "web.scope: 'modul' is not a scope, did you mean 'module'?",
            "valid  function, class, module, package, session",
        ],
    ),
    "reserved name": (
        "tmp_path = service(IMAGE)",
        ["tmp_path: the fixture name 'tmp_path' is reserved by pytest or pytest-django", "do     choose another name"],
    ),
    "share that is none": (
        "web = service(IMAGE, share='workers')",
        ["web.share: 'workers' is not a way to share, did you mean 'worker'?", "valid  run, worker"],
    ),
    "share of the whole run": ("web = service(IMAGE, timeout='soon')", ["web.timeout: 'soon' is not a duration"]),
    "capability that is none": (
        "web = service(IMAGE, cap_add=['NET_ADMN'])",
        ["web.cap_add: 'NET_ADMN' is not a capability, did you mean 'NET_ADMIN'?"],
    ),
    "probe that is none": ("web = service(IMAGE, ready='yes')", ["web.ready: 'yes' is not a probe", "http('/path')"]),
    "probe without a port": (
        "web = service(IMAGE, ready=http('/'))",
        ["web.ready: this probe needs a port, and the service declares none", "valid  port=..."],
    ),
    "command that is one text": (
        "web = service(IMAGE, command='run me')",
        ["web.command: 'run me' is one text", "['sh', '-c', '...']"],
    ),
    "needs somebody unknown": (
        "orders = service(IMAGE)\nweb = service(IMAGE, needs=['oders'])",
        ["web.needs: unknown service 'oders', did you mean 'orders'?"],
    ),
    "lives longer than what it needs": (
        "db = service(IMAGE, scope='function')\nweb = service(IMAGE, needs=['db'])",
        ["web.scope: lives for the session but needs db, which lives for the function only"],
    ),
    "member of a stack that is no service": (
        "hr = stack(web='debian')",
        ["hr.web: 'debian' is not a service", "valid  service(...)"],
    ),
    "option of a stack": (
        "web = service(IMAGE)\nhr = stack(web=web, ports='nativ')",
        ["hr.ports: 'nativ' is not a way to publish ports", "native, held"],
    ),
    "scope of a member": (
        "web = service(IMAGE, scope='module')\nhr = stack(web=web)",
        ["hr.web.scope: belongs to the whole stack", "scope= of stack()"],
    ),
    "two services with one name": (
        "",
        ["web: two services with one name; the other is declared at"],
    ),
}
TOML = {
    "unknown key": ("prot = 8000", ["services.web", "unknown key 'prot', did you mean 'port'?"]),
    "unknown preset": ('use = "postgras"', ["unknown preset or service 'postgras' in use, did you mean 'postgres'?"]),
    "port out of range": ("port = 70000", ["web.port: 70000 is not a port"]),
    "memory that is no size": ('memory = "lots"', ["web.memory: 'lots' is not a size"]),
    "scope that is none": ('scope = "modul"', ["web.scope: 'modul' is not a scope, did you mean 'module'?"]),
    "unknown placeholder": (
        'env = { A = "{db.hst}" }',
        ["web.env.A: unknown placeholder {db.hst}, did you mean 'host'?"],
    ),
    "unknown probe": ('ready = { htp = "/" }', ["web.ready: 'htp' is not a kind of probe, did you mean 'http'?"]),
}


def declare(project: Project, text: str) -> None:
    """Declarations that are wrong, beside a good one that a test asks for."""
    project.conftest(text)
    project.tests("spare = service(IMAGE, command=forever())\ndef test_it(spare): pass")


@pytest.mark.parametrize("what", PYTHON)
def test_wrong_declaration_in_python_ends_the_run(project: Project, what: str) -> None:
    text, expected = PYTHON[what]
    declare(project, text)
    if what == "two services with one name":
        project.write("isolate.toml", "[services.web]\nimage = 'a:1'\n")
        project.conftest("web = service(IMAGE)")
    result = project.run()
    told = "\n".join(errors_of(result))
    assert result.ret == pytest.ExitCode.USAGE_ERROR, told
    for part in expected:
        assert part in told
    assert "conftest.py:" in told or "isolate.toml:" in told
    assert "no test was run" in told
    assert "Traceback" not in told + result.stdout.str()
    assert project.journal.is_empty


@pytest.mark.parametrize("what", TOML)
def test_wrong_declaration_in_toml_ends_the_run(project: Project, what: str) -> None:
    text, expected = TOML[what]
    lines = ["[services.db]", 'image = "a:1"', "[services.web]", text]
    if what != "unknown preset":
        lines.append('image = "a:1"')
    project.write("isolate.toml", "\n".join(lines))
    project.tests("def test_it(db): pass")
    result = project.run()
    told = "\n".join(errors_of(result))
    assert result.ret == pytest.ExitCode.USAGE_ERROR, told
    for part in expected:
        assert part.replace("services.web", "web") in told
    assert "isolate.toml:3" in told
    assert "Traceback" not in told
    assert project.journal.is_empty


def test_circle_is_shown_from_the_one_that_needs_to_the_one_needed(project: Project) -> None:
    declare(project, PYTHON["circle"][0])
    told = "\n".join(errors_of(project.run()))
    assert any(f"circle: {path}\n" in told for path in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c")), (
        told
    )


def test_everything_that_is_wrong_is_told_at_once_in_reading_order(project: Project) -> None:
    declare(
        project,
        """
        one = service(IMAGE, prot=1)
        two = service(IMAGE, port=0, memory="lots")
        three = service()
        """,
    )
    told = "\n".join(errors_of(project.run()))
    assert "pytest-isolate found 4 wrong declarations; no test was run" in told
    positions = [told.index(text) for text in ("one.prot", "two.memory", "two.port", "three: no image")]
    assert positions == sorted(positions)


def test_same_mistake_seen_through_a_stack_is_told_for_each_service(project: Project) -> None:
    declare(project, "web = service(IMAGE, port=0)\nhr = stack(web=web)")
    told = "\n".join(errors_of(project.run()))
    assert told.count("web.port: 0 is not a port") == 1


def test_place_is_that_of_the_wrong_value_not_of_its_copies(project: Project) -> None:
    declare(project, "web = service(\n    IMAGE, port=0)\ncopy = service(web, env={})")
    told = "\n".join(errors_of(project.run()))
    line = next(
        n for n, text in enumerate((project.path / "conftest.py").read_text().splitlines(), 1) if "web =" in text
    )
    assert f"conftest.py:{line}: web.port" in told or f"conftest.py:{line + 1}: web.port" in told


def test_wrong_declaration_that_no_test_uses_is_told_too(project: Project) -> None:
    project.conftest("good = service(IMAGE, command=forever())\nbad = service(IMAGE, port=0)")
    project.tests("def test_it(good): pass")
    assert project.run().ret == pytest.ExitCode.USAGE_ERROR
    assert project.journal.is_empty


def test_where_no_test_needs_a_service_nothing_is_read(project: Project) -> None:
    project.conftest("web = service(IMAGE, port=0)")
    project.tests("def test_it(): pass")
    assert project.run().ret == pytest.ExitCode.OK
    assert project.run("--isolate-plan").ret == pytest.ExitCode.USAGE_ERROR


def test_under_xdist_the_message_comes_once_and_without_a_traceback(project: Project) -> None:
    declare(project, "web = service(IMAGE, prot=8000)")
    result = project.run_xdist()
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR, text
    assert text.count("unknown key 'prot', did you mean 'port'?") == 1
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert "passed" not in text
    assert project.journal.is_empty


def test_under_xdist_unreadable_toml_ends_the_run_too(project: Project) -> None:
    project.write("isolate.toml", "[services.web\n")
    project.tests("def test_it(): pass")
    result = project.run_xdist()
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert text.count("cannot be read as TOML") == 1
    assert "Traceback" not in text
