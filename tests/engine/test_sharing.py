"""Workers share what lives for the run: started once, whoever asks first, and however workers come and go."""

from __future__ import annotations

import os
import re
import signal

import pytest

from engine.conftest import PREAMBLE, Project, Running
from engine.events import Events

pytest.importorskip("xdist")
pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

SERVED = 'web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), memory="32m")\n'
# Each worker notes its process, so that it can be killed from outside.
PIDS = """
import os
from pathlib import Path

def pytest_configure(config):
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        Path(f"pid-{worker}").write_text(str(os.getpid()))
"""
HELPERS = """
import os, time
from pathlib import Path
from urllib.request import urlopen
from waiting import wait_for

def get(service, path="/"):
    with urlopen(f"http://{service.address}{path}", timeout=60) as answer:
        return answer.read().decode()

def read_soon(name):
    path = Path(name)
    return wait_for(lambda: path.exists() and path.read_text())
"""


def tell(project: Project, name: str, text: str) -> None:
    (project.path / name).write_text(text)


def worker_pid(project: Project, worker: str) -> int:
    return int((project.path / f"pid-{worker}").read_text())


def starter_of(events: Events) -> str:
    """The worker that made the first container: the end of its name."""
    match = re.search(r"gw\d+$", events.of("create")[0].name)
    assert match
    return match[0]


def lines_of(project: Project, name: str) -> list[str]:
    path = project.path / name
    return path.read_text().split() if path.exists() else []


NOTE = """
def note(name, text):
    with open(name, "a") as file:
        file.write(f"{text}\\n")
"""


# -- once for all -----------------------------------------------------------------------------------------------------


def test_four_workers_with_two_hundred_tests_start_three_services_once(project: Project, events: Events) -> None:
    project.conftest(SERVED, "a = service(web)\nb = service(web, env={'A': '{a.host}'})\nc = service(web)\ndel web")
    project.tests(
        HELPERS,
        """
        @pytest.mark.parametrize("n", range(200))
        def test_it(a, b, c, n):
            assert get((a, b, c)[n % 3]) == "hello"
            time.sleep(0.02)
        """,
    )
    project.run("-n4", "-q").assert_outcomes(passed=200)
    events.settle()
    assert events.created == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("mode", "passed"),
    [
        (("-n2", "--dist=load"), 8),
        (("-n2", "--dist=loadscope"), 8),
        (("-n2", "--dist=loadfile"), 8),
        (("-n2", "--dist=worksteal"), 8),
        (("--tx=2*popen", "--dist=each"), 16),
        (("-n8", "--maxprocesses=2"), 8),
    ],
    ids=["load", "loadscope", "loadfile", "worksteal", "each", "maxprocesses"],
)
def test_each_way_to_distribute_tests_shares(
    project: Project, events: Events, mode: tuple[str, ...], passed: int
) -> None:
    project.conftest(SERVED)
    text = """
        @pytest.mark.parametrize("n", range(4))
        def test_it(web, worker_id, n):
            assert get(web) == "hello"
            note("who", worker_id)
            time.sleep(0.1)
        """
    project.tests(HELPERS, NOTE, text, name="test_a.py")
    project.tests(HELPERS, NOTE, text, name="test_b.py")
    project.run(*mode).assert_outcomes(passed=passed)
    events.settle()
    assert events.created == ["web"]
    assert set(lines_of(project, "who")) == {"gw0", "gw1"}


def test_stack_with_dependencies_and_a_volume_is_shared_as_a_whole(project: Project, events: Events) -> None:
    project.conftest(
        SERVED,
        """
        front = service(web, command=program("serve 8000 front"), env={"BACK": "{back.url}"}, volumes={"d": "/d"})
        hr = stack(back=service(web, volumes={"d": "/d"}), front=front)
        del web, front
        """,
    )
    project.tests(
        HELPERS,
        """
        @pytest.mark.parametrize("n", range(6))
        def test_it(hr, n):
            assert get(hr.front, "/fetch/back/8000") == "hello"
            assert get(hr.front, "/env/BACK") == "http://back:8000"
            time.sleep(0.1)
        """,
    )
    project.run("-n2").assert_outcomes(passed=6)
    events.settle()
    assert events.created == ["back", "front"]


def test_workers_know_the_same_password(project: Project, events: Events) -> None:
    project.conftest('db = service(postgres(), image=IMAGE, command=program("serve 5432"), ready=http("/"))')
    project.tests(
        HELPERS,
        """
        @pytest.mark.parametrize("n", range(4))
        def test_it(db, n):
            assert get(db, "/env/POSTGRES_PASSWORD") == db.env["POSTGRES_PASSWORD"] != ""
            time.sleep(0.1)
        """,
    )
    project.run("-n2").assert_outcomes(passed=4)
    events.settle()
    assert events.created == ["db"]


# -- private things stay private --------------------------------------------------------------------------------------


def test_what_is_shared_by_worker_only_is_there_once_for_each(project: Project, events: Events) -> None:
    project.conftest(SERVED, "web = service(web, share='worker')")
    project.tests(
        HELPERS,
        NOTE,
        """
        @pytest.mark.parametrize("n", range(6))
        def test_it(web, worker_id, n):
            note(f"port-{worker_id}", web.port)
            time.sleep(0.2)
        """,
    )
    project.run("-n2").assert_outcomes(passed=6)
    events.settle()
    assert events.created == ["web", "web"]
    ports = [set(lines_of(project, f"port-gw{n}")) for n in (0, 1)]
    assert [len(p) for p in ports] == [1, 1]
    assert ports[0] != ports[1]


def test_what_belongs_to_a_module_or_test_is_not_shared(project: Project, events: Events) -> None:
    project.conftest(SERVED, "web = service(web, scope='module')\none = service(web, scope='function')")
    text = "def test_a(web): pass\ndef test_b(web, one): pass"
    project.tests(text, name="test_a.py")
    project.tests(text, name="test_b.py")
    project.run("-n2", "--dist=loadfile").assert_outcomes(passed=4)
    events.settle()
    assert events.created == ["one", "one", "web", "web"]


def test_workers_start_what_needs_the_same_service_of_a_folder_above(project: Project, events: Events) -> None:
    """Both attach it to the network of their stack."""
    project.conftest(SERVED)
    declared = "one = service(image=IMAGE, command=forever(), needs=['web'])\ntwo = service(one)"
    project.write("shop/conftest.py", PREAMBLE, declared)
    for name in ("one", "two"):
        project.tests(
            HELPERS,
            f"""
            def test_it({name}):
                assert {name}.exec(*program("fetch web 8000"), check=True).stdout == "hello\\n"
            """,
            name=f"shop/test_{name}.py",
        )
    project.run("-n2", "--dist=loadfile").assert_outcomes(passed=2)
    events.settle()
    assert events.created == ["one", "two", "web"]


# -- a failed start ---------------------------------------------------------------------------------------------------


def test_failed_start_is_tried_once_and_told_alike_by_all(project: Project, events: Events) -> None:
    project.conftest('web = service(IMAGE, command=program("say about to fail", "exit 3"))')
    project.tests(
        """
        @pytest.mark.parametrize("n", range(6))
        def test_it(web, n): pass

        @pytest.mark.parametrize("n", range(6))
        def test_none(n): pass
        """
    )
    result = project.run("-n2")
    result.assert_outcomes(errors=6, passed=6)
    events.settle()
    assert events.created == ["web"]
    told = [line for line in result.outlines if "ended before it was ready" in line and line.startswith("service ")]
    assert len(told) == 6
    assert len(set(told)) == 1
    assert sum(line.strip() == "about to fail" for line in result.outlines) == 6


# -- workers that die -------------------------------------------------------------------------------------------------


def start_and_kill_the_starter(project: Project, events: Events, *args: str) -> Running:
    """A run whose starter is killed in its first test; the others wait for the file `killed`."""
    run = project.start("-n2", *args)
    events.wait_for(lambda: bool(events.of("start")))
    starter = starter_of(events)
    run.wait_for((project.path / f"in-{starter}").exists)
    os.kill(worker_pid(project, starter), signal.SIGKILL)
    tell(project, "killed", starter)
    return run


def test_instance_outlives_the_worker_that_started_it_and_keeps_its_port(project: Project, events: Events) -> None:
    project.conftest(PIDS, SERVED)
    project.tests(
        HELPERS,
        NOTE,
        """
        import errno, socket

        @pytest.mark.parametrize("n", range(6))
        def test_it(web, worker_id, n):
            port = web.port
            Path(f"in-{worker_id}").touch()
            killed = read_soon("killed")
            if worker_id == killed:
                time.sleep(60)
            note("ids", web.container_id)
            if worker_id in ("gw0", "gw1") and not Path("restarted").exists():
                Path("restarted").touch()
                assert get(web) == "hello"
                web.stop()
                with socket.socket() as thief, pytest.raises(OSError) as caught:
                    thief.bind(("127.0.0.1", port))
                assert caught.value.errno == errno.EADDRINUSE
                web.start()
                assert web.port == port
                assert get(web) == "hello"
                Path("again").write_text("yes")
            else:
                read_soon("again")  # the other worker stops what both share
                assert get(web) == "hello"
        """,
    )
    run = start_and_kill_the_starter(project, events)
    result = run.result()
    result.assert_outcomes(passed=5, failed=1)
    assert "crashed" in result.stdout.str()
    events.settle()
    assert events.created == ["web"]
    assert len(set(lines_of(project, "ids"))) == 1


def test_starter_that_dies_half_way_is_taken_over_and_its_container_removed(project: Project, events: Events) -> None:
    slow = 'web = service(IMAGE, command=program("sleep 3", "serve 8000 hello"), port=8000, ready=http("/"))'
    project.conftest(PIDS, slow)
    project.tests(
        HELPERS,
        """
        @pytest.mark.parametrize("n", range(2))
        def test_it(web, n):
            assert get(web) == "hello"
        """,
    )
    run = project.start("-n2")
    events.wait_for(lambda: bool(events.of("start")))
    run.wait_for(lambda: len(list(project.path.glob("pid-gw*"))) >= 2)
    os.kill(worker_pid(project, starter_of(events)), signal.SIGKILL)
    run.result().assert_outcomes(passed=1, failed=1)
    events.settle()
    assert [event.what for event in events.of("create", "destroy")] == ["create", "destroy", "create", "destroy"]


def test_own_instance_of_a_dead_worker_is_removed_while_the_others_go_on(project: Project, events: Events) -> None:
    project.conftest(PIDS, SERVED, "own = service(web, share='worker')\ndel web")
    project.tests(
        HELPERS,
        """
        @pytest.mark.parametrize("n", range(2))
        def test_it(own, worker_id, n):
            Path(f"in-{worker_id}").touch()
            if worker_id == read_soon("killed"):
                time.sleep(60)
            read_soon("removed")
            assert get(own) == "hello"
        """,
    )
    run = start_and_kill_the_starter(project, events)
    events.wait_for(lambda: bool(events.of("destroy")))
    tell(project, "removed", "yes")
    run.result().assert_outcomes(passed=1, failed=1)
