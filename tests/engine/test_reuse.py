"""What is kept for the next run: found again exactly when nothing of it has changed, and gone when nobody wants it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.programs import IMAGE, program

from engine.conftest import Project
from engine.events import Events
from pytest_isolate.model.identity import LABEL_REUSE
from pytest_isolate.running.ownership.reuse import project_code

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

WEB = 'web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), memory="32m")\n'
TESTS = """
from urllib.request import urlopen

def get(service, path="/"):
    with urlopen(f"http://{service.address}{path}", timeout=60) as answer:
        return answer.read().decode()

def note(text):
    with open("notes", "a") as file:
        file.write(f"{text}\\n")
"""


class Keeper:
    """A project with --isolate-reuse, and what it keeps; a cache folder of its own holds its notes."""

    def __init__(self, project: Project, client: Any, name: str) -> None:
        self.project = project
        self.client = client
        self.path = project.path
        self.cache = project.path / "cache"
        project.env["XDG_CACHE_HOME"] = str(self.cache)
        self.name = name
        self.codes = {project_code(name), project_code(str(project.path))}

    def run(self, *args: str, passed: int = 1) -> pytest.RunResult:
        result = self.project.run("--isolate-reuse", *args)
        result.assert_outcomes(passed=passed)
        return result

    def notes(self) -> list[str]:
        path = self.path / "notes"
        notes = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return notes

    def gc(self, *args: str) -> str:
        return self.command("gc", *args)

    def command(self, *args: str, code: int = 0) -> str:
        program = "from pytest_isolate.cli.main import main; main()"
        env = {**os.environ, **self.project.env}
        command = [sys.executable, "-c", program, *args]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def kept(self, kind: str = "") -> list[str]:
        """What is on the engine, by kind and name."""
        found = []
        for code in self.codes:
            only = {"label": [f"{LABEL_REUSE}={code}"]}
            found += [f"container {c['Names'][0][1:]}" for c in self.client.containers(all=True, filters=only)]
            found += [f"volume {v['Name']}" for v in self.client.volumes(filters=only)["Volumes"] or ()]
            found += [f"network {n['Name']}" for n in self.client.networks(filters=only)]
        return [text for text in sorted(set(found)) if text.startswith(kind)]

    def networks(self) -> int:
        """Names of networks need not differ."""
        only = {"label": [f"{LABEL_REUSE}={project_code(self.name)}"]}
        return len(self.client.networks(filters=only))

    def remove(self) -> None:
        for code in self.codes:
            only = {"label": [f"{LABEL_REUSE}={code}"]}
            for container in self.client.containers(all=True, filters=only):
                self.client.remove_container(container["Id"], force=True, v=True)
            for volume in self.client.volumes(filters=only)["Volumes"] or ():
                self.client.remove_volume(volume["Name"], force=True)
            for network in self.client.networks(filters=only):
                self.client.remove_network(network["Id"])


@pytest.fixture
def keeper(project: Project, docker_client: Any) -> Iterator[Keeper]:
    keeper = Keeper(project, docker_client, str(project.path))
    yield keeper
    for run in project.runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
    keeper.remove()


IDS = "def test_it(web):\n    assert get(web) == 'hello'\n    note(web.container_id)"


# -- found again ------------------------------------------------------------------------------------------------------


def test_second_run_starts_nothing(keeper: Keeper, events: Events) -> None:
    keeper.project.conftest(WEB, "db = service(web, volumes={'d': '/d'})\nweb = service(web, env={'DB': '{db.url}'})")
    keeper.project.tests(TESTS, IDS)
    keeper.run("-n2")
    second = keeper.run("-n2")
    one, other = keeper.notes()
    assert one == other
    assert events.created == ["db", "web"]
    assert "2 reused from earlier runs" in second.stdout.str()


# -- changes ----------------------------------------------------------------------------------------------------------

BUILT = 'web = service(build="image", port=8000, ready=http("/"), memory="32m")'


def write_image(project: Project, text: str) -> None:
    command = json.dumps(program(f"serve 8000 {text}"))
    project.write("image/Dockerfile", f"FROM {IMAGE}\nCOPY . /context\nCMD {command}\n")


def test_rebuilt_image_gives_a_new_instance(keeper: Keeper) -> None:
    keeper.project.conftest(BUILT)
    keeper.project.tests(TESTS, "def test_it(web):\n    note(web.container_id)\n    note(get(web))")
    for text in ("one", "two", "two"):
        write_image(keeper.project, text)
        keeper.run()
    first, one, second, two, third, still = keeper.notes()
    assert (one, two, still) == ("one", "two", "two")
    assert first != second == third


def test_changed_build_context_gives_a_new_instance(keeper: Keeper) -> None:
    keeper.project.conftest(BUILT)
    write_image(keeper.project, "same")
    keeper.project.tests(TESTS, "def test_it(web):\n    note(web.container_id)")
    for text in ("one", "two", "two"):
        keeper.project.write("image/content.txt", text)
        keeper.run()
    first, second, third = keeper.notes()
    assert first != second == third


def test_changed_file_gives_a_new_instance(keeper: Keeper) -> None:
    keeper.project.conftest(WEB, 'web = service(web, files={"/etc/app": {"path": "app.conf"}})')
    keeper.project.tests(
        TESTS, "def test_it(web):\n    note(web.container_id)\n    note(web.exec('cat', '/etc/app').stdout)"
    )
    for text in ("one", "two", "two"):
        keeper.project.write("app.conf", text)
        keeper.run()
    first, one, second, two, third, still = keeper.notes()
    assert (one, two, still) == ("one", "two", "two")
    assert first != second == third


def test_changed_dependency_gives_a_new_instance_that_talks_to_the_new_one(keeper: Keeper) -> None:
    declared = 'back = service(web, command=program("serve 8000 {text}"))\nweb = service(web, needs=["back"])'
    keeper.project.tests(
        TESTS,
        """
        def test_it(web):
            note(web.container_id)
            for _ in range(10):
                note(get(web, "/fetch/back/8000"))
        """,
    )
    found = []
    for text in ("one", "two"):
        keeper.project.conftest(WEB, declared.replace("{text}", text))
        keeper.run()
        container, *answers = keeper.notes()
        assert set(answers) == {text}
        found.append(container)
    assert found[0] != found[1]


def test_changed_service_still_reaches_what_it_needs_and_has_not_changed(keeper: Keeper, events: Events) -> None:
    declared = 'back = service(web)\nweb = service(web, needs=["back"], env={"A": "TEXT"})'
    keeper.project.tests(TESTS, "def test_it(web): assert get(web, '/fetch/back/8000') == 'hello'")
    for text in ("1", "2"):
        keeper.project.conftest(WEB, declared.replace("TEXT", text))
        keeper.run()
    assert events.created == ["back", "web", "web"]


def test_new_version_begins_with_an_empty_volume(keeper: Keeper) -> None:
    text = 'web = service(web, volumes={"data": "/data"}, env={"A": "TEXT"})'
    keeper.project.tests(
        "def test_it(web):\n    assert web.exec('test', '-e', '/data/mark').exit_code == 1\n"
        "    assert web.exec('touch', '/data/mark').exit_code == 0"
    )
    for value in ("1", "2"):
        keeper.project.conftest(WEB, text.replace("TEXT", value))
        keeper.run()
    assert len(keeper.kept("volume")) == 1


# -- lives and dies ---------------------------------------------------------------------------------------------------


def test_everything_that_was_removed_by_hand_is_made_anew(keeper: Keeper) -> None:
    keeper.project.conftest(WEB)
    keeper.project.tests(TESTS, IDS)
    keeper.run()
    keeper.remove()
    keeper.run()
    one, other = keeper.notes()
    assert one != other


def test_kept_things_go_when_somebody_removes_them(keeper: Keeper) -> None:
    keeper.project.conftest(WEB, "web = service(web, volumes={'d': '/d'})")
    keeper.project.tests("def test_it(web): pass")
    keeper.run()
    run = f"kept-{project_code(str(keeper.path))}"
    assert f"pytest-isolate remove {run})" in keeper.command("ps")
    assert "would go" in keeper.command("remove", run, "--dry-run")
    assert len(keeper.kept()) == 3
    assert keeper.command("remove", run).count("removed ") == 3
    assert keeper.kept() == []
    keeper.command("remove", run, code=1)
    keeper.run()


def test_killed_run_leaves_nothing_but_what_is_kept(keeper: Keeper) -> None:
    keeper.project.conftest(WEB, "own = service(web, scope='module')")
    keeper.project.tests("import os, signal\ndef test_it(web, own): os.kill(os.getpid(), signal.SIGKILL)")
    run = keeper.project.start("--isolate-reuse")
    run.process.wait(60)
    run.wait_for(lambda: len(run.containers()) <= 1)
    assert len(keeper.kept("container")) == 1
    keeper.project.tests(TESTS, IDS)
    keeper.run()
    assert len(keeper.kept("container")) == 1


# -- who shares -------------------------------------------------------------------------------------------------------


def test_runs_at_the_same_time_share_and_neither_takes_it_from_the_other(keeper: Keeper, events: Events) -> None:
    keeper.project.conftest(WEB)
    keeper.project.tests(
        TESTS,
        """
        import time
        from pathlib import Path

        def test_it(web):
            note(web.container_id)
            while not Path("go-on").exists():
                assert get(web) == "hello"
                time.sleep(0.02)
        """,
    )
    keeper.project.tests(TESTS, IDS, name="test_short.py")
    runs = [keeper.project.start("--isolate-reuse", "--isolate-reuse-idle=1s", "test_it.py") for _ in range(2)]
    notes = keeper.path / "notes"
    runs[0].wait_for(lambda: notes.exists() and len(notes.read_text().split()) == 2)
    keeper.run("--isolate-reuse-idle=1s", "test_short.py")
    keeper.gc()
    assert "kept, and in use" in keeper.command("remove", f"kept-{project_code(str(keeper.path))}", code=1)
    (keeper.path / "go-on").touch()
    for run in runs:
        run.result().assert_outcomes(passed=1)
    assert len(set(keeper.notes())) == 1
    assert events.created == ["web"]


def test_password_is_the_same_in_each_run_and_written_nowhere_else(keeper: Keeper) -> None:
    keeper.project.conftest(
        'web = service(postgres(), image=IMAGE, command=program("serve 5432"), ready=http("/"), memory="32m")'
    )
    keeper.project.tests(
        TESTS,
        """
        def test_it(web):
            password = web.env["POSTGRES_PASSWORD"]
            assert get(web, "/env/POSTGRES_PASSWORD") == password
            note(password)
        """,
    )
    keeper.run()
    (container,) = keeper.client.containers(filters={"label": [f"{LABEL_REUSE}={project_code(keeper.name)}"]})
    keeper.run()
    first, second = keeper.notes()
    assert first == second
    assert len(first) == 32
    assert first not in str(container["Labels"])
    files = [path for path in keeper.cache.rglob("*") if path.is_file()]
    assert not any(first in path.read_text() for path in files)
    folders = [keeper.cache / "pytest-isolate", *(p for p in keeper.cache.rglob("*") if p.is_dir())]
    assert {oct(folder.stat().st_mode & 0o777) for folder in folders} == {"0o700"}


def test_networks_do_not_pile_up(keeper: Keeper) -> None:
    keeper.project.tests("def test_it(web): pass")
    for value in "123":
        keeper.project.conftest(WEB, f"back = service(web)\nweb = service(web, needs=['back'], env={{'A': '{value}'}})")
        keeper.run()
    assert keeper.networks() == 1


# -- another version is in use ----------------------------------------------------------------------------------------

WAITS = """
import time
from pathlib import Path

def test_it(web):
    note(web.container_id)
    while not Path("go-on").exists():
        assert get(web) == "hello"
        time.sleep(0.02)
"""


def test_version_that_another_run_uses_stays_and_the_changed_one_runs_beside_it(keeper: Keeper) -> None:
    declared = 'db = service(web)\nweb = service(web, needs=["db"], env={"A": "TEXT"})'
    keeper.project.conftest(WEB, declared.replace("TEXT", "1"))
    keeper.project.tests(TESTS, WAITS)
    first = keeper.project.start("--isolate-reuse")
    first.wait_for((keeper.path / "notes").exists)
    keeper.project.conftest(WEB, declared.replace("TEXT", "2"))
    keeper.project.tests(
        TESTS,
        """
        import pytest

        @pytest.mark.parametrize("n", range(4))
        def test_beside(web, n):
            note(web.container_id)
            assert get(web, "/fetch/db/8000") == get(web) == "hello"
        """,
        name="test_beside.py",
    )

    beside = keeper.run("-n2", "test_beside.py", passed=4)

    (keeper.path / "go-on").touch()
    first.result().assert_outcomes(passed=1)
    used, *own = keeper.notes()
    assert len(set(own)) == 1
    assert used not in own
    assert len(keeper.kept("container")) == 2, "what the second run had for itself is gone"
    assert len(keeper.kept("network")) == 1
    beside.stdout.fnmatch_lines(["isolate: 1 service started, *for this run alone web, of which another run uses*"])


def test_start_that_fails_is_tried_once_in_a_run(keeper: Keeper, events: Events) -> None:
    keeper.project.conftest('web = service(IMAGE, command=program("say broken", "exit 3"))')
    keeper.project.tests("import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_it(web, n): pass")
    keeper.project.run("--isolate-reuse", "-n2").assert_outcomes(errors=4)
    events.settle()
    assert events.created == ["web"]
