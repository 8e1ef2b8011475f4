"""One trial: a run, killed at a random moment, and what is left of it when."""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash.observing import Counts, Observer, Processes, find_processes, is_running, kill, wait_until
from crash.project import start_pytest, write_bystander, write_project
from pytest_isolate.sharing.owners import read_start_time

# Within this time of the controller's death nothing may be left, as long as the guardian is alive.
CLEAN_WITHIN_S = 2.0
_PATIENCE_S = 60.0
# The guardian removes the last of a run that has ended by itself.
_AFTER_ITS_END_S = 10.0


@dataclass(frozen=True)
class Kind:
    """Who is killed, and in how many workers the tests run (0: without xdist)."""

    victims: tuple[str, ...]
    workers: int

    def __str__(self) -> str:
        return f"{' and '.join(self.victims)}, {f'-n {self.workers}' if self.workers else 'without xdist'}"


KINDS = (
    *(Kind(victims, 0) for victims in (("controller",), ("guardian",), ("controller", "guardian"))),
    *(Kind((victim,), 2) for victim in ("controller", "worker", "guardian")),
    *(Kind(pair, 2) for pair in (("controller", "worker"), ("controller", "guardian"), ("worker", "guardian"))),
)
# Where a run is killed, and for how long each phase goes on, about: the moment is drawn from this many seconds.
PHASES = {"before": 3.0, "start": 0.8, "tests": 1.5, "clean-up": 0.6}


@dataclass
class Outcome:
    """What became of a trial. `clean_s` counts from the controller's death, where it was killed before its end."""

    kind: Kind
    phase: str
    moment_s: float = 0
    there: Counts = field(default_factory=Counts)
    killed: tuple[str, ...] = ()
    cleaner: str = ""
    clean_s: float | None = None
    left: Counts = field(default_factory=Counts)
    problem: str = ""

    def __str__(self) -> str:
        killed = " and ".join(self.killed) or "nobody, the run was over"
        took = "" if self.clean_s is None else f" after {self.clean_s:.2f} s"
        text = f"{self.kind}: {self.phase} ({self.moment_s:.2f} s, {self.there}), killed {killed}; "
        text += f"clean by {self.cleaner}{took}" if not self.problem else f"PROBLEM: {self.problem}"
        return f"{text}; left {self.left}" if self.left else text


class Bystander:
    """Another run on the same engine, which must not notice anything."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        write_bystander(folder)
        self._folder = folder
        self._log = folder / "output.txt"
        self._process = start_pytest(folder, self._log, [])
        self._seen = 0

    def check(self) -> str:
        """What is wrong with it; empty when it has gone on since the last call."""
        if wait_until(lambda: self._count() > self._seen or self._process.poll() is not None, _PATIENCE_S) is None:
            return "the bystander hangs"
        if self._process.poll() is not None:
            return f"the bystander has ended:\n{self._log.read_text()}"
        self._seen = self._count()
        return ""

    def end(self) -> tuple[int, str]:
        """How often it has talked to its services, and what is wrong with how it ended."""
        (self._folder / "stop").touch()
        try:
            code = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._count(), "the bystander did not end"
        return self._count(), "" if code == 0 else f"the bystander has failed:\n{self._log.read_text()}"

    def _count(self) -> int:
        try:
            return int((self._folder / "count").read_text())
        except (OSError, ValueError):
            return 0


class Bench:
    """A folder with the project, and an engine to look at."""

    def __init__(self, folder: Path, client: Any, rng: random.Random, clean_within_s: float) -> None:
        self._folder = folder / "project"
        self._folder.mkdir()
        write_project(self._folder)
        self._observer = Observer(client)
        self._rng = rng
        self._clean_within_s = clean_within_s

    def _wait_for_moment(self, phase: str, process: subprocess.Popen[bytes], count: Callable[[], Counts]) -> None:
        """Return at a random moment of a phase, or when the run is over."""
        began: Callable[[], bool] = {
            "before": lambda: True,
            "start": lambda: bool(count()),
            "tests": (self._folder / "began").exists,
            "clean-up": lambda: "[100%]" in self._output(),
        }[phase]
        wait_until(lambda: began() or process.poll() is not None, _PATIENCE_S)
        end = time.monotonic() + self._rng.uniform(0, PHASES[phase])
        while time.monotonic() < end and process.poll() is None:
            time.sleep(min(0.01, max(0.0, end - time.monotonic())))
            if phase == "before" and count():
                return

    def run(self, kind: Kind) -> Outcome:
        """One trial."""
        phase = self._rng.choice(list(PHASES))
        outcome = Outcome(kind, phase)
        (self._folder / "began").unlink(missing_ok=True)
        began = time.monotonic()
        process = self._start(kind.workers)
        start_time = read_start_time(process.pid) or ""

        def count() -> Counts:
            return self._observer.count(process.pid, start_time)

        try:
            self._wait_for_moment(phase, process, count)
            outcome.moment_s = time.monotonic() - began
            found = find_processes(process.pid)
            outcome.there = count()
            outcome.killed = self._kill(kind, process, found)
            self._judge(outcome, process, found, count)
        finally:
            for pid in (process.pid, *find_processes(process.pid).workers):
                kill(pid)
            process.wait()
        return outcome

    def _kill(self, kind: Kind, process: subprocess.Popen[bytes], found: Processes) -> tuple[str, ...]:
        """Kill those of the victims that are there, in random order."""
        pids = {"guardian": found.guardian}
        if process.poll() is None:
            pids["controller"] = (process.pid,)
        if found.workers:
            pids["worker"] = (self._rng.choice(found.workers),)
        victims = [v for v in kind.victims if pids.get(v)]
        self._rng.shuffle(victims)
        for victim in victims:
            for pid in pids[victim]:
                kill(pid)
        return tuple(victims)

    def _judge(
        self, outcome: Outcome, process: subprocess.Popen[bytes], found: Processes, count: Callable[[], Counts]
    ) -> None:
        if "controller" not in outcome.killed:
            outcome.cleaner = "the run itself"
            if not self._wait_for_end(process, _PATIENCE_S):
                outcome.problem = f"the run did not end:\n{self._output()}"
            elif wait_until(lambda: not count(), _AFTER_ITS_END_S) is None and "guardian" in outcome.killed:
                outcome.cleaner = "the next run"  # the guardian was killed when the run had left the rest to it
                self._start(0, "test_small.py", log="following.txt").wait(_PATIENCE_S)
        elif found.guardian and "guardian" not in outcome.killed:
            outcome.cleaner = "the guardian"
            process.wait()
            outcome.clean_s = wait_until(lambda: not count(), _PATIENCE_S)
            if outcome.clean_s is None or outcome.clean_s > self._clean_within_s:
                outcome.problem = f"not clean within {self._clean_within_s} s: {outcome.clean_s}"
            # What comes into being later counts as well.
            others = (*found.guardian, *found.workers)
            if wait_until(lambda: not any(map(is_running, others)), _PATIENCE_S) is None:
                outcome.problem += f"; still running: {[pid for pid in others if is_running(pid)]}"
        else:
            outcome.cleaner = "the next run"
            process.wait()
            if wait_until(lambda: not any(map(is_running, found.workers)), _PATIENCE_S) is None:
                outcome.problem = "workers live on without their controller"
            following = self._start(0, "test_small.py", log="following.txt")
            if following.wait(_PATIENCE_S) != 0:
                outcome.problem += f"the next run has failed:\n{self._output('following.txt')}"
        outcome.left = count()
        if outcome.left:
            outcome.problem += f"left behind: {outcome.left}"

    def _start(self, workers: int, *args: str, log: str = "output.txt") -> subprocess.Popen[bytes]:
        distribution = ["-n", str(workers)] if workers else ["-p", "no:xdist"]
        return start_pytest(self._folder, self._folder / log, [*distribution, *(args or ("test_it.py",))])

    def _output(self, log: str = "output.txt") -> str:
        return (self._folder / log).read_text()

    @staticmethod
    def _wait_for_end(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def run_trials(
    kinds: Sequence[Kind], seed: int, client: Any, say: Callable[[str], None], clean_within_s: float = CLEAN_WITHIN_S
) -> list[Outcome]:
    """One trial of each kind in turn, beside a bystander; every line of the report goes to `say`."""
    with tempfile.TemporaryDirectory(prefix="isolate-crash-") as name, _bystander(Path(name), say) as check:
        bench = Bench(Path(name), client, random.Random(seed), clean_within_s)
        outcomes = []
        for number, kind in enumerate(kinds, start=1):
            outcome = bench.run(kind)
            outcome.problem += check()
            say(f"{number:4} {outcome}")
            outcomes.append(outcome)
    return outcomes


@contextmanager
def _bystander(folder: Path, say: Callable[[str], None]) -> Iterator[Callable[[], str]]:
    bystander = Bystander(folder / "bystander")
    first = bystander.check()
    try:
        if first:
            raise RuntimeError(first)
        yield bystander.check
    finally:
        count, problem = bystander.end()
    say(f"the bystander has talked to its services {count} times")
    if problem:
        raise RuntimeError(problem)
