"""How long services live, what goes with them, and what their handles do on a real engine."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from engine.conftest import Project
from engine.events import Events

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

# What tests inside the runs use to look at the engine: which containers of theirs are there at this moment.
LOOK = """
import docker
from waiting import wait_for

def ids(client, service):
    run = client.inspect_container(service.container_id)["Config"]["Labels"]["pytest-isolate.run"]
    return {c["Id"] for c in client.containers(all=True, filters={"label": f"pytest-isolate.run={run}"})}

@pytest.fixture(scope="session")
def client():
    client = docker.APIClient(base_url=ADDRESS)
    yield client
    client.close()

def assert_gone(client, container_id):
    wait_for(lambda: not client.containers(all=True, filters={"id": container_id}))
"""


@pytest.fixture
def look(docker_client: Any, real_engine: Any) -> str:
    return f"ADDRESS = {real_engine.facts().address!r}\n{LOOK}"


def test_services_of_class_module_and_package_end_with_them(project: Project, look: str) -> None:
    project.write("pkg/__init__.py")
    project.write("pkg/seen.py", "IDS = {}")
    project.conftest(look)
    project.write(
        "pkg/conftest.py",
        """
        from fakes.programs import IMAGE, forever
        from pytest_isolate import service

        in_class = service(IMAGE, command=forever(), scope="class")
        in_module = service(IMAGE, command=forever(), scope="module")
        in_package = service(IMAGE, command=forever(), scope="package")
        in_session = service(IMAGE, command=forever())
        """,
    )
    module = """
        import pytest
        from conftest import assert_gone, ids
        from pkg.seen import IDS

        def note(name, service):
            IDS.setdefault(name, [])
            if service.container_id not in IDS[name]:
                IDS[name].append(service.container_id)

        class TestOne:
            @pytest.mark.parametrize("n", [1, 2])
            def test_it(self, in_class, in_module, in_package, in_session, n):
                for name, service in (("class", in_class), ("module", in_module), ("package", in_package),
                                      ("session", in_session)):
                    note(name, service)

        class TestTwo:
            def test_it(self, in_class, client):
                assert_gone(client, IDS["class"][-1])
                note("class", in_class)
        """
    project.write("pkg/test_a.py", module)
    project.write("pkg/test_b.py", module)
    project.write(
        "test_z.py",
        """
        from conftest import assert_gone
        from pkg.seen import IDS

        def test_gone(client):
            assert {name: len(found) for name, found in IDS.items()} == {
                "class": 4, "module": 2, "package": 1, "session": 1}
            for name in ("class", "module", "package"):
                for container_id in IDS[name]:
                    assert_gone(client, container_id)
            assert client.inspect_container(IDS["session"][0])["State"]["Running"]
        """,
    )
    project.env["PYTHONPATH"] = f"{Path(__file__).parent.parent}:{project.path}"
    project.run("pkg", "test_z.py").assert_outcomes(passed=7)


def test_named_and_anonymous_volumes_are_removed(project: Project, docker_client: Any) -> None:
    """Trap 30: an image's own VOLUME makes a volume without a name for each container."""
    project.write("image/Dockerfile", "FROM debian:bookworm-slim\nVOLUME /var/lib/anonymous\n")
    tag = f"isolate-test-volumes:{secrets.token_hex(4)}"
    project.conftest(
        f"db = service(build='image', image={tag!r}, command=forever(), volumes={{'data': '/data'}})",
    )
    project.tests(
        """
        def test_it(db):
            db.exec(*program("write /var/lib/anonymous/a 1", "write /data/b 2"), check=True)
            __import__("pathlib").Path("id").write_text(db.container_id)
            import time
            while not __import__("os").path.exists("seen"): time.sleep(0.02)
        """
    )
    run = project.start()
    run.wait_for(lambda: (project.path / "id").exists() and (project.path / "id").read_text())
    mounts = docker_client.inspect_container((project.path / "id").read_text())["Mounts"]
    (project.path / "seen").touch()
    try:
        run.result().assert_outcomes(passed=1)
    finally:
        docker_client.remove_image(tag, force=True)
    names = [mount["Name"] for mount in mounts if mount["Type"] == "volume"]
    assert len(names) == 2
    left = {volume["Name"] for volume in docker_client.volumes()["Volumes"] or ()}
    assert left.isdisjoint(names)


def test_volume_keeps_its_content_over_a_restart_and_is_new_in_the_next_run(project: Project) -> None:
    project.conftest("db = service(IMAGE, command=forever(), volumes={'data': '/data'})")
    project.tests(
        """
        def test_it(db):
            assert db.exec("cat", "/data/file").exit_code != 0
            db.exec(*program("write /data/file kept"), check=True)
            db.kill()
            db.start()
            assert db.exec("cat", "/data/file").stdout == "kept\\n"
        """
    )
    for _ in range(2):
        project.run().assert_outcomes(passed=1)


def test_handle_stops_starts_pauses_and_looks_inside(project: Project, look: str) -> None:
    project.conftest(look, "web = service(IMAGE, command=program('say up', 'serve 8000 here'), port=8000)")
    project.tests(
        """
        from urllib.request import urlopen

        def get(web, timeout=60):
            with urlopen(f"http://{web.address}", timeout=timeout) as answer:
                return answer.read()

        def state(client, web):
            return client.inspect_container(web.container_id)["State"]

        def test_logs(web):
            assert web.logs().splitlines() == ["up"]

        def test_exec(web):
            result = web.exec("sh", "-c", "echo out; echo wrong >&2; exit 5")
            assert (result.exit_code, result.stdout, result.stderr) == (5, "out\\n", "wrong\\n")
            with pytest.raises(IsolateError, match="ended with code 5"):
                web.exec("sh", "-c", "exit 5", check=True)

        def test_stop_and_start(web, client):
            web.stop()
            assert state(client, web)["ExitCode"] == 0
            web.start()
            assert state(client, web)["Running"]
            assert get(web) == b"here"

        def test_kill_and_start(web, client):
            web.kill()
            assert state(client, web)["ExitCode"] == 137
            web.start()
            assert get(web) == b"here"

        def test_pause(web, client):
            web.pause()
            assert state(client, web)["Paused"]
            with pytest.raises(OSError):
                get(web, timeout=0.3)
            web.unpause()
            assert get(web) == b"here"

        def test_restart(web):
            web.restart()
            assert get(web) == b"here"
        """
    )
    project.run().assert_outcomes(passed=6)


def test_paused_and_stopped_services_are_removed_too(project: Project) -> None:
    project.conftest("a = service(IMAGE, command=forever())\nb = service(a)\nc = service(a)")
    project.tests("def test_it(a, b, c): a.pause(); b.stop(); c.kill()")
    project.run().assert_outcomes(passed=1)


def test_stubborn_service_does_not_hold_up_the_end(project: Project, events: Events) -> None:
    """Cleaning up does not wait for slow shutdowns: containers are killed, and not asked to stop."""
    project.conftest("web = service(IMAGE, command=program('stubborn', 'say up', 'sleep 600'), ready=log('up'))")
    project.tests("def test_it(web): pass")
    project.run().assert_outcomes(passed=1)
    events.settle()
    assert len(events.of("die")) == 1
    assert events.of("stop") == []


def test_service_waits_for_what_it_needs_and_finds_it(project: Project) -> None:
    project.conftest(
        """
        db = service(IMAGE, command=program("sleep 0.5", "serve 5432 rows"), port=5432)
        web = service(IMAGE, command=program("fetch db 5432", "serve 8000"), port=8000, env={"DB": "{db.address}"})
        lone = service(IMAGE, command=program("fetch db 5432", "sleep 600"), needs=["db"], scope="function")
        """
    )
    project.tests(
        """
        from waiting import wait_for

        def test_it(web): assert web.logs() == "rows\\n"

        @pytest.mark.parametrize("n", range(2))
        def test_from_another_network(lone, n): assert wait_for(lone.logs) == "rows\\n"
        """
    )
    project.run().assert_outcomes(passed=3)


def test_two_runs_at_once_do_not_meet(project: Project) -> None:
    """Traps 11 and 29: same names, same engine; the one that ends first leaves the other alone."""
    project.conftest("web = service(IMAGE, command=program('serve 8000 here'), port=8000, volumes={'data': '/data'})")
    project.tests(
        """
        import os, time
        from pathlib import Path
        from urllib.request import urlopen

        def test_it(web):
            Path(f"up-{os.environ['ME']}").touch()
            while not Path(f"go-{os.environ['ME']}").exists(): time.sleep(0.02)
            with urlopen(f"http://{web.address}", timeout=60) as answer:
                assert answer.read() == b"here"
        """
    )
    runs = []
    for me in ("a", "b"):
        project.env["ME"] = me
        runs.append(project.start())
    for run, me in zip(runs, ("a", "b"), strict=True):
        run.wait_for((project.path / f"up-{me}").exists)
    (project.path / "go-a").touch()
    runs[0].result().assert_outcomes(passed=1)
    assert len(runs[1].containers()) == 1
    (project.path / "go-b").touch()
    runs[1].result().assert_outcomes(passed=1)
