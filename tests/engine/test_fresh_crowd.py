"""Thousands of fresh copies, on the fake psql: workers that are killed, full pools, holders without a connection."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fakes.holder import FIRST
from waiting import wait_for

from pytest_isolate.running.data.names import PRISTINE

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
HAND_OVERS = 3_000
KILLED = 12
WORKERS = 3


class Crowd:
    """Workers that share a server."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workers: list[subprocess.Popen[str]] = []
        self._numbers = itertools.count(1)

    def join(self) -> None:
        argv = [sys.executable, "-m", "fakes.holder", str(self.root), f"gw{next(self._numbers)}"]
        self.workers.append(subprocess.Popen(argv, cwd=TESTS, stderr=subprocess.PIPE, text=True))

    def kill_one(self) -> None:
        worker = self.workers.pop(random.randrange(len(self.workers)))
        clients = psutil.Process(worker.pid).children()
        worker.kill()
        worker.communicate()
        # What it has asked for last they may still be doing.
        psutil.wait_procs(clients, timeout=60)

    def check(self) -> None:
        for worker in self.workers:
            if worker.poll() is not None:
                pytest.fail(worker.communicate()[1])

    def wait_for(self, count: int) -> None:
        """Return when so many copies have been given; fail where a worker has ended, or nothing happens."""

        def have_been_given() -> bool:
            self.check()
            return len(self.given()) >= count

        wait_for(have_been_given, 120, pause_s=0.05)

    def leave(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            assert worker.communicate(timeout=120)[1] == ""
        self.workers = []

    def given(self) -> list[str]:
        file = self.root / "given"
        return file.read_text().splitlines() if file.exists() else []

    def databases(self) -> set[str]:
        return {path.name for path in (self.root / "databases").iterdir()}


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    (tmp_path / "databases").mkdir()
    pristine = {"lines": FIRST, "template": True, "open": False}
    (tmp_path / "databases" / PRISTINE).write_text(json.dumps(pristine))
    crowd = Crowd(tmp_path)
    yield crowd
    for worker in crowd.workers:
        worker.kill()
        worker.wait()
        assert worker.stderr
        worker.stderr.close()


def test_no_copy_is_ever_given_twice_or_taken_from_its_holder(crowd: Crowd) -> None:
    for _ in range(WORKERS):
        crowd.join()
    # Who is killed after so many seconds may not have begun yet, on a busy machine none of them ever.
    for number in range(1, KILLED + 1):
        crowd.wait_for(number * HAND_OVERS // KILLED)
        crowd.kill_one()
        crowd.join()
    crowd.leave()

    given = crowd.given()
    assert len(set(given)) == len(given) >= HAND_OVERS


def test_what_killed_workers_have_left_is_dropped_by_those_that_live(crowd: Crowd) -> None:
    crowd.join()
    crowd.wait_for(20)
    crowd.kill_one()
    left = crowd.databases() - {PRISTINE}
    assert left
    crowd.join()
    wait_for(lambda: not crowd.databases() & left)
    crowd.leave()

    assert crowd.databases() == {PRISTINE}
