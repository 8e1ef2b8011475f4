"""What --isolate-keep leaves on a real engine answers when pytest has ended, and goes without a trace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from waiting import wait_for

from engine.conftest import Project, Running
from engine.test_fresh import DECLARE, POSTGRES

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]

WEB = """
web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), memory="32m")
own = service(web, needs=["web"], scope="function", volumes={"files": "/data"})
"""
BAD = "def test_bad(own): assert False\n"


class Kept:
    """A run that has ended, and what is left of it."""

    def __init__(self, project: Project, run: Running, code: int | None = 1) -> None:
        self._project = project
        assert run.process.wait(180) == code, run.output
        self.output = run.output
        found = re.search(r"pytest-isolate remove (\w+)", self.output)
        assert found, self.output
        self.run_id = found[1]

    def containers(self) -> list[str]:
        """When the guardian has gone over it: what is there stays the same."""
        before: list[str] = []
        while before != (before := self._project.objects()) or self._is_guarded():
            time.sleep(0.1)
        return [name for name in before if name.startswith("container ")]

    def urls(self) -> list[str]:
        return re.findall(r'^  "(http://\S+)"$', self.output, re.MULTILINE)

    def command(self, beginning: str) -> str:
        """A command that the summary shows, without a terminal."""
        (found,) = [line.strip() for line in self.output.splitlines() if line.strip().startswith(beginning)]
        return found.replace("-it", "-i", 1)

    def remove(self) -> None:
        """As the summary says."""
        code = "from pytest_isolate.cli.main import main; main()"
        command = [sys.executable, "-c", code, "remove", self.run_id]
        env = {**os.environ, **self._project.env}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert self._project.objects() == []

    def _is_guarded(self) -> bool:
        names = (Path("/proc") / pid / "cmdline" for pid in os.listdir("/proc") if pid.isdecimal())
        return any(self.run_id.encode() in _read(name) for name in names)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended


def get(url: str) -> str:
    with urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


@pytest.fixture(autouse=True)
def cache(project: Project) -> Iterator[None]:
    project.env["XDG_CACHE_HOME"] = str(project.path / "cache")
    yield
    project.left.remove(project.objects())


@pytest.mark.parametrize("distribution", ["-pno:xdist", "-n2"])
def test_what_is_kept_answers_when_pytest_has_ended(project: Project, distribution: str) -> None:
    project.conftest(WEB, "spare = service(web)")
    project.tests(BAD, "def test_good(own, spare): pass\ndef test_other(own): pass\n")

    kept = Kept(project, project.start("--isolate-keep=failed", distribution))

    assert len(kept.containers()) == 2
    assert [get(url) for url in kept.urls()] == ["hello", "hello"]
    # What needs the other still finds it by its name.
    own = next(name for name in kept.containers() if "-own-" in name).split()[1]
    asked = ["docker", "exec", own, "getent", "hosts", "web"]
    assert subprocess.run(asked, capture_output=True, check=True, timeout=120).stdout
    kept.remove()


def test_fresh_data_of_a_failed_test_is_there_by_the_commands_that_are_printed(project: Project) -> None:
    project.conftest(DECLARE, POSTGRES, "orders = fresh(db)")
    project.tests(
        """
        from conftest import psql

        @pytest.mark.parametrize("number", range(3))
        def test_it(orders, number):
            psql(orders, f"CREATE TABLE t AS SELECT {number} AS x")
            assert number != 1
        """
    )

    # Without a snapshot its data is in memory.
    kept = Kept(project, project.start("--isolate-keep=failed", "--isolate-no-cache"))

    assert len(kept.containers()) == 1
    commands = [line.strip() for line in kept.output.splitlines() if " psql -h " in line]
    assert len(commands) == 2
    ask = f"{commands[1].replace('-it', '-i', 1)} -qAt -c 'SELECT x FROM t'"
    done = subprocess.run(ask, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")
    urls = re.findall(r'^  ("postgresql://\S+ .*")$', kept.output, re.MULTILINE)
    shown = subprocess.run(f"echo {urls[1]}", shell=True, capture_output=True, text=True, check=True, timeout=60)
    assert re.fullmatch(r"postgresql://postgres:\w{32}@127\.0\.0\.1:\d+/isolate_copy_\w+\n", shown.stdout)
    kept.remove()


@pytest.mark.parametrize("distribution", ["-pno:xdist", "-n1"])
def test_interrupt_keeps_what_failed_before_it_and_removes_the_rest(project: Project, distribution: str) -> None:
    project.conftest(WEB, "spare = service(web)")
    project.tests(
        BAD,
        "from pathlib import Path\nimport time\n",
        "def test_slow(own, spare):\n    Path('up').touch()\n    time.sleep(60)\n",
    )
    run = project.start("--isolate-keep=failed", distribution)
    run.wait_for((project.path / "up").exists)
    run.interrupt_group()

    kept = Kept(project, run, code=2)

    assert len(kept.containers()) == 2
    assert [get(url) for url in kept.urls()] == ["hello", "hello"]
    kept.remove()


def test_a_run_that_is_killed_leaves_nothing_although_a_test_has_failed(project: Project) -> None:
    project.conftest(WEB)
    project.tests(BAD, "def test_killed():\n    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n")

    run = project.start("--isolate-keep=failed")

    assert run.process.wait(60) == -9
    run.wait_for(lambda: project.objects() == [])


def test_what_a_worker_had_that_crashes_later_stays_and_the_next_run_leaves_it(project: Project) -> None:
    project.conftest(WEB)
    project.tests(BAD, "def test_crash(own):\n    import os\n    os._exit(1)\n")

    kept = Kept(project, project.start("--isolate-keep=failed", "-n1"))

    assert len(kept.containers()) == 2
    assert [get(url) for url in kept.urls()] == ["hello", "hello"]
    # The next run sweeps, and has ports, names and networks of its own.
    project.start("-k", "bad").process.wait(60)
    wait_for(lambda: len(kept.containers()) == 2)  # its guardian removes when pytest has ended
    assert [get(url) for url in kept.urls()] == ["hello", "hello"]
    kept.remove()
