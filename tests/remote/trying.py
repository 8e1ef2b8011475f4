"""What is tried on each engine that is not simply the local socket."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from waiting import wait_for

from pytest_isolate.model.identity import LABEL_RUN

from .conftest import TESTS, Place

CONFTEST = """
from fakes.programs import IMAGE, program
from pytest_isolate import *

web = service(IMAGE, port=8000, command=program("serve 8000 hello"), ready=http("/"), memory="64m")
front = service(
    IMAGE,
    ports=[8000, 8001],
    env={"WEB": "{web.url}", "OUTSIDE": "{self.external_host}:{self.external_port}"},
    command=program("serve 8000 front", "serve 8001 back"),
    files={"/note": "copied in"},
    ready=http("/"),
)
"""
PROJECT = """
import os
import time
import urllib.request

def get(service, path="/", port=None):
    return urllib.request.urlopen(f"http://{service.host}:{port or service.port}{path}", timeout=10).read().decode()

def test_services_answer_where_their_handles_say(web, front):
    assert (get(web), get(front), get(front, port=front.port_of(8001))) == ("hello", "front", "back")

def test_services_reach_each_other_and_know_where_tests_see_them(front):
    assert get(front, "/fetch/web/8000") == "hello"
    assert get(front, "/env/OUTSIDE") == front.address
    assert front.exec("cat", "/note", check=True).stdout == "copied in"

def test_an_address_survives_a_restart(web):
    before = web.address
    web.restart()
    assert (web.address, get(web)) == (before, "hello")

def test_what_it_writes_is_told(web):
    get(web, "/say/something")
    deadline = time.monotonic() + 60
    while "something" not in web.logs():  # the engine reads it a little later
        assert time.monotonic() < deadline
        time.sleep(0.02)
"""


def try_contract_suite(place: Place, tmp_path: Path) -> None:
    """What every engine has to do; it prints a line for docs/engines.md."""
    contract = TESTS / "engine" / "test_contract.py"
    # One file of another folder: its conftest.py files are found from there, ours are not wanted.
    code, output = place.run(tmp_path, str(contract), "-k", "real", "-n2", "-q", "-rs", "--confcutdir", str(TESTS))
    summary = output.strip().splitlines()[-1]
    print(f"contract suite, {place.name}: {summary}")
    passed = re.search(r"(\d+) passed", summary)
    assert code == 0
    assert passed
    assert int(passed[1]) > 80


def try_buildkit(place: Place, tmp_path: Path) -> None:
    """Each word of BuildKit's syntax, over this connection and with this engine."""
    words = TESTS / "engine" / "test_buildkit.py"
    code, output = place.run(tmp_path, str(words), "-q", "-rs", "-s", "--confcutdir", str(TESTS))
    summary = output.strip().splitlines()[-1]
    passed = re.search(r"(\d+) passed", summary)
    assert code == 0
    assert passed
    assert int(passed[1]) > 25


def try_a_project(place: Place, tmp_path: Path) -> None:
    """Addresses, neighbours, files, a restart, logs; and nothing stays behind."""
    write(tmp_path, CONFTEST, PROJECT)
    code, output = place.run(tmp_path, "--isolate")
    assert code == 0
    assert "4 passed" in output
    _expect_nothing_of(place, output)


def try_a_run_that_is_killed(place: Place, tmp_path: Path) -> None:
    """Its guardian speaks to the engine in the same way."""
    write(tmp_path, CONFTEST, "import os, signal\n\ndef test_it(web): os.kill(os.getpid(), signal.SIGKILL)")
    code, output = place.run(tmp_path, "--isolate", "-v")
    assert code not in (0, 1)
    _expect_nothing_of(place, output)


def write(folder: Path, conftest: str, tests: str) -> None:
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(textwrap.dedent(tests))


def _expect_nothing_of(place: Place, output: str) -> None:
    """Soon nothing of a run is left: its guardian removes the last of it."""
    wait_for(lambda: not _left_of(place, output), pause_s=0.1, show=lambda: _left_of(place, output))


def _left_of(place: Place, output: str) -> list[str]:
    """What a run has left on its engine."""
    run = re.search(r"\(run (\w+)\)", output)
    assert run, output
    only = {"label": [f"{LABEL_RUN}={run[1]}"]}
    found = [c["Id"] for c in place.client.containers(all=True, filters=only)]
    found += [n["Name"] for n in place.client.networks(filters=only)]
    return found + [v["Name"] for v in place.client.volumes(filters=only)["Volumes"] or ()]
