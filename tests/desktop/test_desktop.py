"""Runs on a desktop's engine: ports that a forwarder brings to this host, at once or late."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
from fakes.programs import IMAGE, program
from remote.conftest import TESTS, Place
from remote.trying import CONFTEST, PROJECT, try_a_project, try_a_run_that_is_killed, try_contract_suite, write

from .conftest import OpenHost

pytestmark = pytest.mark.engine

# Holds a port as the plugin does on an engine of this kernel, and starts a container that publishes it.
HELD = """
import socket

import docker
import pytest
from fakes.programs import IMAGE, program
from waiting import wait_for

@pytest.fixture
def start():
    client = docker.from_env()
    made = []

    def start(port):
        ports = {"8000/tcp": ("127.0.0.1", port)}
        made.append(client.containers.create(IMAGE, program("serve 8000 hello"), ports=ports))
        made[0].start()

    yield start
    for container in made:
        container.remove(force=True)
    client.close()

def test_it(start):
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        start(held.getsockname()[1])

        def answers():
            with socket.socket() as client:
                return client.connect_ex(held.getsockname()) == 0

        wait_for(answers, 2, show=lambda: "it is never forwarded")
"""

# A server of the host's, given by the option that names what runs already.
SERVER = """
import http.server, os, threading

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"of this host")

    def log_message(self, *args):
        pass

page = http.server.HTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=page.serve_forever, daemon=True).start()
os.environ["PYTEST_ISOLATE_USE"] = f"outer=http://127.0.0.1:{page.server_port}"

def pytest_unconfigure():
    page.shutdown()
    page.server_close()
"""


@pytest.fixture(scope="session", params=["desktop", "lima"])
def host(request: pytest.FixtureRequest, open_host: OpenHost) -> Place:
    """A host whose forwarder binds ports while a container starts, or a little later."""
    return open_host("--mode", request.param)


def test_a_held_port_is_in_the_forwarders_way(host: Place, tmp_path: Path) -> None:
    """Trap 38, as it is without this plugin."""
    (tmp_path / "test_it.py").write_text(HELD)
    code, output = host.run(tmp_path)
    assert code == 1
    if "desktop" in host.name:
        assert re.search(r"Ports are not available: exposing port TCP 127\.0\.0\.1:.* address already in use", output)
    else:
        assert "it is never forwarded" in output


def test_contract_suite(host: Place, tmp_path: Path) -> None:
    try_contract_suite(host, tmp_path)


def test_a_project(host: Place, tmp_path: Path) -> None:
    try_a_project(host, tmp_path)


def test_a_run_that_is_killed_leaves_nothing(host: Place, tmp_path: Path) -> None:
    try_a_run_that_is_killed(host, tmp_path)


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_quickstart(host: Place, tmp_path: Path, workers: str) -> None:
    """Images are built in the machine."""
    code, output = host.run(tmp_path, "--isolate", workers, "/examples/quickstart")
    assert code == 0
    assert "2 passed" in output


@pytest.mark.parametrize(
    "tests",
    [
        "test_compose.py::test_three_projects_run_twice_side_by_side",
        "test_fresh.py::test_a_copy_of_postgres_is_a_true_one_and_neighbours_do_not_see_each_other",
        "test_faults.py",
        "test_command.py::test_services_by_hand_from_up_to_down",
    ],
)
def test_what_works_on_this_kernels_engine_works_on_a_desktops(host: Place, tmp_path: Path, tests: str) -> None:
    code, output = host.run(tmp_path, str(TESTS / "engine" / tests), "-n2", "-q", "-rs", "--confcutdir", str(TESTS))
    print(f"{tests}, {host.name}: {output.strip().splitlines()[-1]}")
    assert code == 0


# -- one host each ----------------------------------------------------------------------------------------------------


def test_windows_says_in_its_own_words_that_a_port_is_taken(open_host: OpenHost, tmp_path: Path) -> None:
    """The first port is taken between its choice and the start; ports are late in what the engine tells."""
    host = open_host("--mode", "desktop", "--windows-words", "--late-inspect", "0.5")
    taken = """
        import socket
        from pytest_isolate.running.network import ports

        taken, claim = [], ports.claim_free_ports

        def claim_taken(*args):
            claimed = claim(*args)
            if not taken:
                taken.append(socket.create_server(("127.0.0.1", next(iter(claimed.by_inner.values())))))
            return claimed

        import pytest_isolate.running.network.addresses as addresses
        addresses.claim_free_ports = claim_taken

        @pytest.fixture(scope="session", autouse=True)
        def _close():
            yield
            taken[0].close()
    """
    write(tmp_path, f"import pytest\n{CONFTEST}{textwrap.dedent(taken)}", PROJECT)
    code, output = host.run(tmp_path, "--isolate")
    assert code == 0
    assert "4 passed" in output


@pytest.mark.parametrize("clock", ["+2s", "-60s"])
def test_a_clock_that_is_off_hides_no_lines(open_host: OpenHost, tmp_path: Path, clock: str) -> None:
    """Of a log, what was written since the start or the test counts."""
    host = open_host("--mode", "desktop", clock=clock)
    declared = """
    web = service(
        IMAGE, port=8000, command=program("say up", "serve 8000 hello"), ready=[log("up"), http("/")], timeout=20
    )
    """
    tests = """
        import urllib.request

        def test_it(web):
            urllib.request.urlopen(f"{web.url}/say/something", timeout=10)
            raise AssertionError("its section shows what was said")
    """
    write(tmp_path, f"{CONFTEST}{textwrap.dedent(declared)}", tests)
    code, output = host.run(tmp_path, "--isolate")
    assert code == 1
    assert "1 failed" in output
    assert re.search(r"^.*something$", output, re.MULTILINE)


def test_a_slow_forwarder_makes_nothing_ready_too_soon(open_host: OpenHost, tmp_path: Path) -> None:
    """It takes connections before anything listens, and is late to hang up."""
    host = open_host("--mode", "desktop", "--late", "0.15")
    declared = 'web = service(IMAGE, port=8000, command=program("sleep 2", "say up", "serve 8000 hello"), timeout=30)'
    write(tmp_path, f"{CONFTEST}{declared}\n", 'def test_it(web): assert "up" in web.logs()')
    code, output = host.run(tmp_path, "--isolate")
    assert code == 0
    assert "1 passed" in output


def test_a_forwarder_that_lacks_a_port_is_named(open_host: OpenHost, tmp_path: Path) -> None:
    host = open_host("--mode", "never")
    declared = 'web = service(IMAGE, port=8000, command=program("serve 8000 hello"), ready=http("/"), timeout=6)'
    write(tmp_path, f"{CONFTEST}{declared}\n", "def test_it(web): pass")
    code, output = host.run(tmp_path, "--isolate")
    assert code == 1
    assert re.search(
        r"found  the container answers inside, on port 8000; 127\.0\.0\.1:2\d{4} does not: the forwarder of your "
        r"virtual machine may lack it\n",
        output,
    )


def test_a_service_of_this_hosts_loopback_is_reached_from_the_machine(open_host: OpenHost, tmp_path: Path) -> None:
    host = open_host("--mode", "desktop", "--reachable")
    declared = """
    outer = service("none:1", port=80, ready=http("/"))
    app = service(IMAGE, env={"URL": "{outer.url}"}, command=program("serve 8000 app"), port=8000, ready=http("/"))
    """
    tests = """
        import urllib.request

        def test_it(outer, app):
            fetched = urllib.request.urlopen(f"{app.url}/fetch/outer/{outer.port}", timeout=10).read()
            assert fetched == b"of this host"
    """
    write(tmp_path, f"{SERVER}{CONFTEST}{textwrap.dedent(declared)}", tests)
    code, output = host.run(tmp_path, "--isolate")
    assert code == 0
    assert "1 passed" in output


def test_variables_that_are_set_before_the_run_name_ports_that_no_socket_is_bound_to(
    open_host: OpenHost, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f"""
        [tool.pytest-isolate.services.web]
        image = "{IMAGE}"
        port = 8000
        command = {json.dumps(program("serve 8000 hello"))}

        [tool.pytest-isolate.env]
        WEB = "http://{{web.address}}"
        """
    )
    tests = """
        import os
        import urllib.request

        SEEN = os.environ["WEB"]

        def test_it(web):
            assert SEEN == f"http://{web.address}"
            assert urllib.request.urlopen(SEEN, timeout=10).read() == b"hello"
    """
    write(tmp_path, "", tests)
    code, output = open_host("--mode", "desktop").run(tmp_path, "--isolate")
    assert code == 0
    assert "1 passed" in output


def test_native_ports_are_refused_before_anything_starts(open_host: OpenHost, tmp_path: Path) -> None:
    host = open_host("--mode", "desktop")
    write(tmp_path, f"{CONFTEST}all = stack(web=web, ports='native')\n", "def test_it(all): pass")
    code, output = host.run(tmp_path, "--isolate")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "found  the engine runs in a virtual machine, whose forwarder knows no loopback address but" in output


def test_doctor_names_the_virtual_machine(open_host: OpenHost, tmp_path: Path) -> None:
    host = open_host("--mode", "desktop", clock="+5s")
    tests = """
        import subprocess, sys

        def test_it():
            code = "from pytest_isolate.cli.main import main; main(prog_name='pytest-isolate')"
            print(subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True).stdout)
    """
    write(tmp_path, "", tests)
    code, output = host.run(tmp_path, "-s")
    assert code == 0
    assert re.search(r"ok +place +Docker Desktop's virtual machine, \d+\.\d GiB, clock 5\.\d s behind\n", output)
    assert "disk (engine)" not in output
