"""What runs already beside the engine, as containers find it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from engine.conftest import Project, Running
from engine.test_fresh import DECLARE, POSTGRES

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]

APP = """
db = service(IMAGE, port=5432, ready=http("/"))
app = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), env={"DB": "{db.address}"})
"""


@contextmanager
def serve(host: str) -> Iterator[int]:
    """The port of a server on this host."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"howdy")

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_container_reaches_a_server_of_its_host_by_the_services_name(project: Project) -> None:
    project.conftest(APP)
    with serve("0.0.0.0") as port:
        project.tests(
            f"""
            import urllib.request

            def test_it(app):
                assert app.env["DB"] == "db:{port}"
                with urllib.request.urlopen(f"{{app.url}}/fetch/db/{port}") as answer:
                    assert answer.read() == b"howdy"
            """
        )
        project.run(f"--isolate-use=db=http://127.0.0.1:{port}").assert_outcomes(passed=1)


def test_a_server_that_listens_on_the_loopback_only_is_told_of_before_a_container_is_made(project: Project) -> None:
    project.conftest(APP)
    project.tests("def test_it(app): pass")
    with serve("127.0.0.1") as port:
        result = project.run(f"--isolate-use=db=http://localhost:{port}")
    result.assert_outcomes(errors=1)
    result.stdout.re_match_lines(
        [r".*needs 'db', which its container cannot reach", r" *found .*which is this host for containers, says: .*"]
    )


# A run that holds a server, and carries out what others ask of it: only in its container is a psql.
HOLDER = """
import os, time
from pathlib import Path

def test_hold(db):
    asks = Path("asks")
    asks.mkdir()
    Path("url.new").write_text(db.url)
    os.rename("url.new", "url")
    while not Path("done").exists():
        for ask in asks.glob("*.sql"):
            database, text = ask.read_text().split("|", 1)
            answer = ask.with_suffix(".new")
            argv = ["psql", "-qAtU", "postgres", "-d", database, "-c", text]
            answer.write_text(db.exec(*argv, check=True).stdout)
            ask.unlink()
            answer.rename(ask.with_suffix(".answer"))
        time.sleep(0.02)
"""
COPIES = """
import os, time, uuid
from pathlib import Path

def psql(database, text):
    ask = Path("asks", uuid.uuid4().hex)
    ask.with_suffix(".new").write_text(f"{database}|{text}")
    ask.with_suffix(".new").rename(ask.with_suffix(".sql"))
    while not ask.with_suffix(".answer").exists():
        time.sleep(0.02)
    return ask.with_suffix(".answer").read_text().split()
"""
USES = """
@pytest.mark.parametrize("n", range(4))
def test_copy(orders, n):
    assert orders.url.startswith("postgresql://postgres:") and orders.url.endswith(f"/{orders.database}")
    assert psql(orders.database, "SELECT name FROM item") == ["first"]
    psql(orders.database, f"INSERT INTO item VALUES ('own {n}')")

def test_hang(orders):
    if "HANG" in os.environ:
        Path("hangs").touch()
        time.sleep(100)
"""


def databases_of_ours(project: Project, holder: Running) -> list[str]:
    """What is on the server that the holder holds."""
    ask = project.path / "asks" / secrets.token_hex(8)
    ask.with_suffix(".new").write_text("postgres|SELECT datname FROM pg_database WHERE datname LIKE 'isolate%'")
    ask.with_suffix(".new").rename(ask.with_suffix(".sql"))
    holder.wait_for(ask.with_suffix(".answer").exists)
    return ask.with_suffix(".answer").read_text().split()


def test_fresh_copies_are_made_on_a_server_that_runs_already_and_nothing_of_them_stays(project: Project) -> None:
    project.conftest(DECLARE, POSTGRES, "orders = fresh(db, init='schema.sql')")
    project.write("schema.sql", "CREATE TABLE item (name text); INSERT INTO item VALUES ('first');")
    project.tests(HOLDER, name="test_holder.py")
    project.tests(COPIES, USES, name="test_copies.py")
    holder = project.start("test_holder.py")
    holder.wait_for((project.path / "url").exists)
    try:
        given = f"--isolate-use=db={(project.path / 'url').read_text()}"
        project.env["HANG"] = "1"
        killed = project.start("test_copies.py", "-k", "hang", given)
        killed.wait_for((project.path / "hangs").exists)
        killed.process.kill()
        killed.process.wait()
        assert len(databases_of_ours(project, holder)) >= 3
        del project.env["HANG"]
        project.run("-n2", "test_copies.py", given).assert_outcomes(passed=5)
        assert databases_of_ours(project, holder) == []
    finally:
        (project.path / "done").touch()
    holder.result().assert_outcomes(passed=1)
