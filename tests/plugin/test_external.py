"""--isolate-use: tests are handed what runs already, and nothing is started in its place."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import pytest
from fakes.engine import HOST_ADDRESS_VARIABLE

from plugin.conftest import Project

DB = """
db = service(postgres(image=IMAGE, command=program("serve 5432"), ready=http("/"), snapshot=None, in_memory=None))
"""
APP = """
app = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), env={"DATABASE_URL": "{db.url}"})
"""
SECRET = "s3cret-in-url"


class Server:
    """A service that runs already: answers HTTP, and counts what it is asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[str] = []

    def url(self, host: str = "127.0.0.1", query: str = "") -> str:
        return f"postgresql://ann:{SECRET}@{host}:{self.port}/shop{query}"


@contextmanager
def serve(host: str = "127.0.0.1") -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((host, 0), Handler) as server:
        served = Server(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


def output(result: pytest.RunResult) -> str:
    """All that was printed; a password never is."""
    text = result.stdout.str() + result.stderr.str()
    assert SECRET not in text
    return text


def test_the_handle_says_what_the_url_says(project: Project, server: Server) -> None:
    project.conftest(DB)
    project.tests(
        f"""
        def test_it(db):
            assert (db.host, db.port, db.address) == ("127.0.0.1", {server.port}, "127.0.0.1:{server.port}")
            assert db.url == "{server.url(query="?sslmode=disable")}"
            assert (db.user, db.password, db.database, db.name) == ("ann", "{SECRET}", "shop", "db")
            assert db.port_of(5432) == {server.port}
            assert db.inside.host == "db" and db.inside.port == {server.port}
            assert db.inside.url == "postgresql://ann:{SECRET}@db:{server.port}/shop?sslmode=disable"
            assert db.env["POSTGRES_USER"] == "ann"
            assert (db.image, db.container_id) == ("", "")
            assert repr(db) == "<Service 'db' (given by --isolate-use) at 127.0.0.1:{server.port}>"
        """
    )
    result = project.run(f"--isolate-use=db={server.url('127.0.0.1', '?sslmode=disable')}")
    result.assert_outcomes(passed=1)
    assert server.asked == ["/"]
    assert project.journal.calls("create_container") == project.journal.calls("find_image") == []
    used = f"isolate: used db at postgresql://ann:***@127.0.0.1:{server.port}/shop, which ran already"
    assert used in output(result).splitlines()


def test_what_the_url_leaves_out_is_as_declared(project: Project, server: Server) -> None:
    project.conftest(f"db = service(postgres(image=IMAGE, port={server.port}, ready=http('/'), database='d'))")
    project.tests("def test_it(db): assert (db.user, db.password, db.database, db.port) == ('postgres', '', 'd', PORT)")
    project.write("test_it.py", f"PORT = {server.port}", (project.path / "test_it.py").read_text())
    project.run("--isolate-use=db=postgresql://127.0.0.1").assert_outcomes(passed=1)


def test_services_that_need_it_are_given_its_address(project: Project, server: Server) -> None:
    project.conftest(DB, APP)
    project.tests(
        f"""
        def test_it(app):
            assert app.env["DATABASE_URL"] == "{server.url("db")}"
        """
    )
    project.run(f"--isolate-use=db={server.url()}").assert_outcomes(passed=1)
    (created,) = project.journal.calls("create_container")
    assert created[0]["settings"]["extra_hosts"] == [["db", "host-gateway"]]
    assert len(project.journal.calls("create_network")) == 1


def test_a_name_is_handed_on_with_the_address_that_tests_find(project: Project, server: Server) -> None:
    # A name of this host that is none of the loopback's own.
    project.conftest(
        DB,
        APP,
        """
        import socket
        known = socket.getaddrinfo

        def lookup(host, *args, **kwargs):
            return known("127.0.0.1" if host == "db.example" else host, *args, **kwargs)

        socket.getaddrinfo = lookup

        def pytest_unconfigure():
            socket.getaddrinfo = known
        """,
    )
    project.tests(f'def test_it(app): assert app.env["DATABASE_URL"] == "{server.url("db.example")}"')
    project.run(f"--isolate-use=db={server.url('db.example')}").assert_outcomes(passed=1)
    (created,) = project.journal.calls("create_container")
    assert created[0]["settings"]["extra_hosts"] == [["db", "127.0.0.1"], ["db.example", "127.0.0.1"]]


def test_what_listens_on_the_loopback_only_is_refused_to_containers(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOST_ADDRESS_VARIABLE, "127.9.9.9")
    project.conftest(DB, APP)
    project.tests("def test_it(app): pass")
    result = project.run(f"--isolate-use=db={server.url()}")
    result.assert_outcomes(errors=1)
    text = output(result)
    assert "needs 'db', which its container cannot reach\n" in text
    assert f"  tried  db is given by --isolate-use at 127.0.0.1:{server.port}, an address of this host\n" in text
    assert f"  found  127.9.9.9:{server.port}, which is this host for containers, says: connection refused\n" in text
    assert project.journal.calls("create_container") == []


def test_one_that_does_not_answer_is_told_with_who_gave_it(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    project.conftest(DB.replace("snapshot", "timeout=0.2, snapshot"))
    project.tests("def test_it(db): pass")
    result = project.run(f"--isolate-use=db=postgresql://ann:{SECRET}@127.0.0.1:{port}/shop")
    result.assert_outcomes(errors=1)
    text = output(result)
    assert f"service 'db' (given by --isolate-use) does not answer at 127.0.0.1:{port}\n" in text
    assert "  found  last answer: connection refused\n" in text
    assert f"right: postgresql://ann:***@127.0.0.1:{port}/shop\n" in text
    assert "without --isolate-use it is started here; it is declared at " in text
    assert "isolate: used db" not in text


REFUSED = {
    "db.logs()": "its log cannot be read",
    "db.exec('true')": "no command can be run inside",
    "db.stop()": "it cannot be stopped",
    "db.start()": "it cannot be started",
    "db.restart()": "it cannot be restarted",
    "db.kill()": "it cannot be killed",
    "db.pause()": "it cannot be paused",
    "db.unpause()": "it cannot be paused",
    "db.paused().__enter__()": "it cannot be paused",
    "db.stopped().__enter__()": "it cannot be stopped",
    "db.killed().__enter__()": "it cannot be killed",
    "db.disconnected().__enter__()": "it cannot be cut off",
    "db.slow(latency=1).__enter__()": "its network cannot be made slow",
}


def test_what_takes_a_container_of_ours_is_an_error_that_says_so(project: Project, server: Server) -> None:
    project.conftest(DB)
    project.tests(
        f"""
        from pytest_isolate.errors import UsedServiceError

        @pytest.mark.parametrize(("code", "what"), {list(REFUSED.items())!r})
        def test_it(db, code, what):
            with pytest.raises(UsedServiceError) as caught:
                eval(code)
            assert str(caught.value).startswith(f"service 'db' runs already, so {{what}}\\n")
            assert "given by --isolate-use" in str(caught.value)
        """
    )
    project.run(f"--isolate-use=db={server.url()}").assert_outcomes(passed=len(REFUSED))


def test_where_all_runs_already_no_engine_is_needed(project: Project, server: Server) -> None:
    refusing = "def pytest_isolate_engine(config): raise RuntimeError('nobody needs an engine')"
    project.conftest(DB, APP, engine=refusing)
    project.tests("def test_it(db, app): pass")
    given = [f"--isolate-use=db={server.url()}", f"--isolate-use=app=http://127.0.0.1:{server.port}"]
    result = project.run(*given)
    result.assert_outcomes(passed=1)
    assert output(result).count("which ran already") == 2


def test_an_engine_is_found_when_something_else_is_asked_for_at_run_time(project: Project, server: Server) -> None:
    project.conftest(DB, APP)
    project.tests(
        """
        def test_given(db): assert db.user == "ann"

        def test_at_run_time(db, request):
            assert request.getfixturevalue("app").env["DATABASE_URL"].startswith("postgresql://ann")
            assert db.user == "ann"
        """
    )
    project.run(f"--isolate-use=db={server.url()}").assert_outcomes(passed=2)
    project.journal.assert_nothing_is_left()


# -- where it is given --------------------------------------------------------------------------------------------


ASK = 'def test_it(db): assert db.user == "ann"'


def test_the_environment_gives_it(project: Project, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ISOLATE_USE", f"db={server.url()} other=http://127.0.0.1:1")
    project.conftest(DB)
    project.tests(ASK)
    result = project.run()
    result.assert_outcomes(passed=1)
    output(result)


def test_the_configuration_file_gives_it(project: Project, server: Server) -> None:
    project.write("pytest.ini", f"[pytest]\nisolate_use =\n  db={server.url()}\n  other=http://127.0.0.1:1\n")
    project.conftest(DB)
    project.tests(ASK)
    project.run().assert_outcomes(passed=1)


def test_the_command_line_wins(project: Project, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ISOLATE_USE", "db=http://127.0.0.1:1")
    project.conftest(DB)
    project.tests(ASK)
    project.run(f"--isolate-use=db={server.url()}").assert_outcomes(passed=1)


def test_a_service_of_a_stack_is_given_by_its_whole_name(project: Project, server: Server) -> None:
    project.conftest(DB, APP, "hr = stack(db=db, app=app)\nsales = stack(db=db, app=app)")
    project.tests(
        """
        def test_it(hr, sales):
            assert hr.db.user == "ann" and "ann" in hr.app.env["DATABASE_URL"]
            assert sales.db.user == "postgres" and sales.db.container_id
        """
    )
    project.run(f"--isolate-use=hr.db={server.url()}").assert_outcomes(passed=1)


def test_workers_use_it_alike(project: Project, server: Server) -> None:
    project.conftest(DB, APP)
    project.tests('@pytest.mark.parametrize("n", range(4))\ndef test_it(db, app, n): assert db.user == "ann"')
    result = project.run_xdist(f"--isolate-use=db={server.url()}")
    result.assert_outcomes(passed=4)
    assert output(result).count("isolate: used db at ") == 1
    assert len(project.journal.calls("create_container")) == 1


def test_what_it_needs_is_not_started(project: Project, server: Server) -> None:
    project.conftest(DB, APP)
    project.tests("def test_it(app): pass")
    project.run(f"--isolate-use=app=http://127.0.0.1:{server.port}").assert_outcomes(passed=1)
    assert project.journal.calls("create_container") == []


def test_variables_of_the_table_env_say_where_it_is(project: Project, server: Server) -> None:
    project.write(
        "isolate.toml",
        """
        [services.web]
        image = "debian:bookworm-slim"
        port = 80
        [env]
        WEB_URL = "{web.url}"
        """,
    )
    project.tests(f'import os\ndef test_it(web): assert os.environ["WEB_URL"] == "http://127.0.0.1:{server.port}/x"')
    project.run_subprocess(f"--isolate-use=web=http://127.0.0.1:{server.port}/x").assert_outcomes(passed=1)


def test_the_plan_says_that_it_runs_already(project: Project, server: Server) -> None:
    project.conftest(DB)
    project.tests("def test_it(db): pass")
    result = project.run("--isolate-plan", f"--isolate-use=db={server.url()}")
    assert f"runs at postgresql://ann:***@127.0.0.1:{server.port}/shop" in output(result)
    assert server.asked == []


# -- what is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"--isolate-use=postgresql://ann:{SECRET}@h/d", "names no service, or no URL with a scheme and a host"),
        ("--isolate-use=db", "names no service, or no URL with a scheme and a host"),
        (f"--isolate-use=db=ann:{SECRET}@h", "--isolate-use: db: names no service, or no URL with a scheme and a host"),
        (f"--isolate-use=db=postgresql://ann:{SECRET}@h:x/d", "--isolate-use: db: its URL cannot be read"),
        ("--isolate-use=dbs=postgresql://h/d", "--isolate-use: dbs: unknown service 'dbs', did you mean 'db'?"),
        ("--isolate-registry=nonsense", "--isolate-registry=nonsense: is not a place to fetch images from"),
        ("--isolate-pull=sometimes", "--isolate-pull=sometimes: 'sometimes' does not say when to pull"),
        ("--isolate-platform=arm", "--isolate-platform=arm: 'arm' is not a platform"),
    ],
)
def test_what_cannot_be_used_ends_the_run(project: Project, given: str, expected: str) -> None:
    project.conftest(DB)
    project.tests("def test_it(db): pass")
    result = project.run(given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = output(result)
    assert expected in text
    assert "\n  valid  " in text


def declared_wrong(project: Project, server: Server, *args: str) -> str:
    result = project.run(f"--isolate-use=db={server.url()}", *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return output(result)


def test_variants_of_it_are_refused_but_for_the_one_that_is_named(project: Project, server: Server) -> None:
    project.conftest(DB, "pgs = variants(db={'a': {}, 'b': {'user': 'bob'}})")
    project.tests(ASK)
    text = declared_wrong(project, server)
    assert "--isolate-use: db: has variants (a, b), and what runs already is one of them at most\n" in text
    assert "  do     say which one it is: --isolate-variant=db=a\n" in text
    project.run(f"--isolate-use=db={server.url()}", "--isolate-variant=db=b").assert_outcomes(passed=1)


def test_a_marker_that_changes_it_is_refused(project: Project, server: Server) -> None:
    project.conftest(DB)
    project.tests("@pytest.mark.isolate(db={'env': {'TZ': 'UTC'}})\ndef test_it(db): pass")
    text = declared_wrong(project, server)
    assert "runs already (given by --isolate-use), so it cannot be changed for a test" in text


def test_fresh_copies_of_what_is_not_postgres_are_refused(project: Project, server: Server) -> None:
    project.conftest(DB.replace("snapshot", "copies='redis', snapshot"), "orders = fresh(db)")
    project.tests("def test_it(orders): pass")
    assert "db: runs already, and 'orders' makes fresh copies of its data" in declared_wrong(project, server)


@pytest.mark.parametrize(("reset", "what"), [("True", "would replace its data"), ("command('x')", "is run inside")])
def test_a_reset_that_takes_a_server_of_ours_is_refused(
    project: Project, server: Server, reset: str, what: str
) -> None:
    project.conftest(DB.replace("snapshot", f"reset={reset}, snapshot"))
    project.tests("def test_it(db): pass")
    assert what in declared_wrong(project, server)


def test_a_reset_over_the_network_is_done(project: Project, server: Server) -> None:
    project.conftest(DB.replace("snapshot", "reset=http('/reset'), snapshot"))
    project.tests("def test_one(db): pass\ndef test_two(db): pass")
    project.run(f"--isolate-use=db={server.url()}").assert_outcomes(passed=2)
    assert server.asked == ["/", "/reset", "/reset"]


def test_a_reset_that_fails_leaves_it_alone(project: Project, server: Server) -> None:
    project.conftest(DB.replace("snapshot", "reset=http('/reset', status=500), snapshot"))
    project.tests("def test_one(db): pass\ndef test_two(db): pass")
    result = project.run(f"--isolate-use=db={server.url()}")
    result.assert_outcomes(passed=2, errors=2)
    assert "it runs already, so tests that come later find it as the reset has left it" in output(result)
