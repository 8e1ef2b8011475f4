"""Runs on a fake cluster that are killed at random moments, beside one that must not notice.

ISOLATE_CRASH_TRIALS=50 tries as often as you like, and ISOLATE_CRASH_SEED draws the same moments again.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from crash.observing import Processes, find_processes, is_running, kill, wait_until
from waiting import wait_for

from kubernetes.calling import Api
from kubernetes.fake.handle import FakeCluster
from kubernetes.projects import GET, WEB, Project

# Each takes some twenty seconds.
TRIALS = int(os.environ.get("ISOLATE_CRASH_TRIALS", "4"))

pytestmark = [pytest.mark.engine, pytest.mark.linux, pytest.mark.timeout(600 + 120 * TRIALS)]

SEED = int(os.environ.get("ISOLATE_CRASH_SEED", "0")) or secrets.randbelow(10**6)
PATIENCE_S = 120.0
# How soon shows in what is printed; a busy machine takes longer.
CLEAN_WITHIN_S = 60.0
# The relay asks twice, each time after 15 s, before it takes a Pod for gone.
PORTS_WITHIN_S = 90.0
KINDS = ("pods", "secrets", "services", "configmaps", "leases")
VICTIMS = (
    *((names, workers) for names in (("controller",), ("guardian",), ("relay",)) for workers in (0, 2)),
    *((("controller", "guardian"), workers) for workers in (0, 2)),
    (("worker",), 2),
    (("controller", "relay"), 2),
)
# How long each phase goes on, about: the moment is drawn from this many seconds.
PHASES = {"before": 4.0, "start": 4.0, "tests": 6.0, "clean-up": 2.0}
SERVICES = """
hr = stack(web=web, front=service(web, env={"BACK": "{web.url}"}))
own = service(web, share="worker", volumes={"data": "/data"})
brief = service(web, scope="function")
"""
TESTS = """
from pathlib import Path
import time

def look(service):
    Path("began").touch()
    assert get(service) == "hello"
    time.sleep(0.2)

@pytest.mark.parametrize("n", range(6))
def test_shared(hr, n): look(hr.front)

@pytest.mark.parametrize("n", range(3))
def test_own(own, n): look(own)

@pytest.mark.parametrize("n", range(2))
def test_brief(brief, n): look(brief)
"""
SMALL = "def test_small(web): pass"
# A relay that is killed breaks what it carries, and is back within moments.
BYSTANDER = """
from pathlib import Path
import time

def test_services_go_on(web):
    Path("address.new").write_text(web.address)
    Path("address.new").replace("address")
    while not Path("stop").exists():
        for left in reversed(range(300)):
            try:
                assert get(web) == "hello"
                break
            except OSError:
                if not left:
                    raise
                time.sleep(0.1)
        time.sleep(0.2)
"""


def list_objects(api: Api) -> dict[str, str]:
    """The uids of all that runs may have in the namespace, by kind and name."""
    found = [(kind, one["metadata"]) for kind in KINDS for one in api.get(kind)["items"]]
    return {f"{kind} {meta['name']}": str(meta["uid"]) for kind, meta in found}


def find_relays(folder: Path) -> list[int]:
    """The processes of the relays whose folders are in this one."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "pytest_isolate.engine.kubernetes.relay" in words and words[-1].startswith(str(folder)):
            found.append(process.pid)
    return found


def end_relays(folder: Path) -> None:
    """End them now: they would wait for a minute whether there is more to do."""
    for pid in find_relays(folder):
        os.kill(pid, signal.SIGTERM)


def listening_ports(pids: Sequence[int]) -> set[int]:
    """The ports at which these processes listen."""
    found = set()
    for pid in pids:
        try:
            connections = psutil.Process(pid).net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        found |= {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}
    return found


@dataclass
class Trial:
    """What became of a trial; `clean_s` is the time from the kill of the controller to nothing left."""

    victims: tuple[str, ...]
    workers: int
    phase: str
    there: int = 0
    killed: tuple[str, ...] = ()
    cleaner: str = ""
    clean_s: float | None = None
    problem: str = ""

    def __str__(self) -> str:
        killed = " and ".join(self.killed) or "nobody that was there"
        took = "" if self.clean_s is None else f" after {self.clean_s:.1f} s"
        plan = f"{' and '.join(self.victims)} of -n{self.workers}, in phase {self.phase!r} ({self.there} objects)"
        return f"{plan}: killed {killed}; clean by {self.cleaner}{took} {self.problem}".strip()


class Bench:
    """A project whose runs are killed, in a namespace that others use too."""

    def __init__(self, project: Project, api: Api, rng: random.Random, others: Mapping[str, str]) -> None:
        self._project = project
        self._api = api
        self._rng = rng
        self._others = others

    def run(self, trial: Trial) -> None:
        """Run the project, kill at a random moment, and see what is left when."""
        (self._project.path / "began").unlink(missing_ok=True)
        process = start(self._project, "output.txt", f"-n{trial.workers}", "test_it.py")
        try:
            self._wait_for_moment(trial.phase, process)
            wait_until(lambda: process.poll() is not None or self._is_any_there(trial, process), PATIENCE_S)
            found = find_processes(process.pid)
            trial.there = len(self._left())
            pids = self._find_victims(process, found)
            trial.killed = tuple(name for name in trial.victims if pids[name])
            for name in trial.killed:
                for pid in pids[name]:
                    kill(pid)
            self._judge(trial, process, bool(found.guardian))
            others = (*found.guardian, *found.workers)
            if wait_until(lambda: not any(map(is_running, others)), PATIENCE_S) is None:
                trial.problem += f"; still running: {[pid for pid in others if is_running(pid)]}"
            # What comes into being later counts as well.
            if wait_until(lambda: not self._left(), CLEAN_WITHIN_S) is None:
                trial.problem += f"; left behind: {self._left()}"
        finally:
            kill(process.pid)
            process.wait()

    def _find_victims(self, process: subprocess.Popen[bytes], found: Processes) -> dict[str, Sequence[int]]:
        return {
            "controller": (process.pid,) if process.poll() is None else (),
            "worker": (self._rng.choice(found.workers),) if found.workers else (),
            "guardian": found.guardian,
            "relay": find_relays(self._project.path),
        }

    def _is_any_there(self, trial: Trial, process: subprocess.Popen[bytes]) -> bool:
        found = self._find_victims(process, find_processes(process.pid))
        return any(found[name] for name in trial.victims)

    def _judge(self, trial: Trial, process: subprocess.Popen[bytes], is_guarded: bool) -> None:
        """Have what is left removed by the one who has to do it, and see that it is."""
        is_guarded = is_guarded and "guardian" not in trial.killed
        if "controller" not in trial.killed:
            trial.cleaner = "the run itself"
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                trial.problem = f"the run did not end:\n{self._output()}"
                return
            # A guardian that was killed may have been about to remove the rest.
            if wait_until(lambda: not self._left(), CLEAN_WITHIN_S if is_guarded else 10) is None and not is_guarded:
                self._have_removed(trial)
        else:
            process.wait()
            trial.cleaner = "its guardian"
            if is_guarded:
                trial.clean_s = wait_until(lambda: not self._left(), CLEAN_WITHIN_S)
            else:
                self._have_removed(trial)

    def _have_removed(self, trial: Trial) -> None:
        if self._rng.random() < 0.5:
            trial.cleaner = "pytest-isolate gc"
            done = self._project.command("gc")
            text, code = done.stdout, done.returncode
        else:
            trial.cleaner = "the next run"
            code = start(self._project, "next.txt", "-n0", "test_small.py").wait(PATIENCE_S)
            text = self._output("next.txt")
        if code:
            trial.problem += f"{trial.cleaner} has failed:\n{text}"

    def _wait_for_moment(self, phase: str, process: subprocess.Popen[bytes]) -> None:
        """Return at a random moment of a phase, or when the run is over."""
        began: Callable[[], bool] = {
            "before": lambda: True,
            "start": lambda: bool(self._left()),
            "tests": (self._project.path / "began").exists,
            "clean-up": lambda: "[100%]" in self._output(),
        }[phase]
        wait_until(lambda: began() or process.poll() is not None, PATIENCE_S)
        wait_until(lambda: process.poll() is not None, self._rng.uniform(0, PHASES[phase]))

    def _left(self) -> list[str]:
        return sorted(set(list_objects(self._api)) - set(self._others))

    def _output(self, log: str = "output.txt") -> str:
        return (self._project.path / log).read_text()


def start(project: Project, log: str, *args: str, folder: Path | None = None) -> subprocess.Popen[bytes]:
    """A run of pytest in another process, in a process group of its own."""
    command = [sys.executable, "-m", "pytest", "--isolate", "--isolate-engine=kubernetes", "-p", "no:cacheprovider"]
    folder = folder or project.path
    with (folder / log).open("wb") as file:
        return subprocess.Popen(
            [*command, "-q", *args],
            cwd=folder,
            env={**os.environ, **project.env},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@pytest.fixture
def project(tmp_path: Path, fake_cluster: FakeCluster, namespace: str) -> Iterator[Project]:
    """The project whose runs are killed. At the end no relay of it is left."""
    folder = tmp_path / "project"
    folder.mkdir()
    found = Project(folder, fake_cluster, namespace)
    found.write("conftest.py", WEB, SERVICES)
    found.write("test_it.py", GET, TESTS)
    found.write("test_small.py", SMALL)
    yield found
    end_relays(folder)


class Bystander:
    """Another run in the namespace, which keeps asking its service; it shares the relay."""

    def __init__(self, project: Project, folder: Path, api: Api) -> None:
        folder.mkdir()
        preamble = (project.path / "conftest.py").read_text().partition(SERVICES)[0]
        (folder / "conftest.py").write_text(preamble)
        (folder / "test_it.py").write_text(f"{GET}{BYSTANDER}")
        self._folder = folder
        self._api = api
        self.process = start(project, "output.txt", "-n0", "--tb=line", folder=folder)
        wait_for((folder / "address").exists, PATIENCE_S, show=self.output)
        self.objects = list_objects(api)
        self.address = (folder / "address").read_text()

    def output(self) -> str:
        return (self._folder / "output.txt").read_text()

    def check(self) -> str:
        """What is wrong with it; empty for nothing."""
        if self.process.poll() is not None:
            return f"; the bystander has ended:\n{self.output()}"
        if wait_until(self._answers, CLEAN_WITHIN_S) is None:
            return "; the bystander's port does not answer"
        now = list_objects(self._api)
        lost = [name for name, uid in self.objects.items() if now.get(name) != uid]
        return f"; the bystander has lost {lost}" if lost else ""

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://{self.address}", timeout=30) as answer:
                return bool(answer.read() == b"hello")
        except OSError:
            return False

    def end(self) -> None:
        (self._folder / "stop").touch()
        assert self.process.wait(PATIENCE_S) == 0, self.output()


def test_whoever_is_killed_nothing_is_left_and_nobody_else_notices(project: Project, tmp_path: Path, api: Api) -> None:
    pytest.importorskip("xdist")
    print(f"ISOLATE_CRASH_SEED={SEED} ISOLATE_CRASH_TRIALS={TRIALS}")
    rng = random.Random(SEED)
    chosen = rng.sample([VICTIMS[n % len(VICTIMS)] for n in range(max(TRIALS, len(VICTIMS)))], TRIALS)
    trials = [Trial(names, workers, rng.choice([*PHASES])) for names, workers in chosen]
    bystander = Bystander(project, tmp_path / "bystander", api)
    own_port = {int(bystander.address.rpartition(":")[2])}
    bench = Bench(project, api, rng, bystander.objects)
    try:
        for number, trial in enumerate(trials, start=1):
            began = time.monotonic()
            bench.run(trial)
            trial.problem += bystander.check()
            print(f"{number:4} {trial} ({time.monotonic() - began:.0f} s in all)", flush=True)
            if trial.problem:
                break
        wait_for(
            lambda: listening_ports(find_relays(project.path)) == own_port,
            PORTS_WITHIN_S,
            show=lambda: listening_ports(find_relays(project.path)),
        )
    finally:
        bystander.end()
    times = [trial.clean_s for trial in trials if trial.clean_s is not None]
    if times:
        print(
            f"clean by guardians {len(times)} times: median {statistics.median(times):.1f} s, most {max(times):.1f} s"
        )
    assert [str(trial) for trial in trials if trial.problem] == []
    wait_for(lambda: not list_objects(api), CLEAN_WITHIN_S, show=lambda: list_objects(api))
