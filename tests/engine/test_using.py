"""What runs already beside the engine, as containers find it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

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
