"""A fresh database of 100 tables for each test: fresh(), truncating by hand, and a container for each test."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.environments import copy_project, ensure_venv_with_plugin
from benchmarks.load import LoadMeter
from benchmarks.measuring import clean_env
from benchmarks.results import build_table
from benchmarks.workloads import prepare

TESTS, SOME, FEW = 500, 50, 10
_WORKERS = 2
_SUMMARY = re.compile(r"fresh copies of (\w+): (\d+) handed out, (\d+) at once, made in (\d+) ms each")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to fresh data, and how long each test takes besides."""

    name: str
    how: str
    tests: int
    work_s: float


CASES = (
    Case(name="fresh(), tests of 0.2 s", how="fresh", tests=TESTS, work_s=0.2),
    Case(name="fresh(), tests as fast as they can", how="fresh", tests=TESTS, work_s=0),
    Case(name="truncating by hand, tests of 0.2 s", how="truncate", tests=SOME, work_s=0.2),
    Case(name="a container for each test", how="container", tests=FEW, work_s=0.2),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run has shown."""

    case: Case
    wall_s: float
    waits_s: Sequence[float]
    hits: float | None = None
    copy_s: float | None = None

    @property
    def p99_s(self) -> float:
        return quantiles(self.waits_s, n=100)[98]

    @property
    def scaled_s(self) -> float:
        """What TESTS tests would take at this rate."""
        return self.wall_s * TESTS / self.case.tests


def run(rounds: int, load: LoadMeter) -> str:
    """The section for RESULTS.md."""
    env = prepare()
    commands = ensure_venv_with_plugin("plugin-fresh", "pytest", "pytest-xdist", "psycopg[binary]")
    measured: list[Measured] = []
    for _ in range(rounds):
        load.sample()
        measured += [_measure(case, commands, env) for case in CASES]
    best = [_middle([m for m in measured if m.case is case]) for case in CASES]
    return "\n\n".join(
        [
            f"{TESTS} tests with `-n {_WORKERS}`, each with a Postgres database of 100 tables that it changes; "
            f"truncating by hand {SOME} tests, a container for each of {FEW}, and their times for {TESTS} scaled from "
            f"that. Each waits for its data as long as the table says; the run of the median of {rounds} rounds is "
            "shown.",
            build_table(
                [
                    "",
                    "median wait, ms",
                    "99th percentile, ms",
                    "ready at once",
                    "a copy takes, ms",
                    f"{TESTS} tests, s",
                ],
                [_row(m) for m in best],
            ),
            _judge(best[0]),
        ]
    )


def _measure(case: Case, commands: Path, env: Mapping[str, str]) -> Measured:
    folder = copy_project("fresh")
    variables = {**clean_env(), **env, "HOW": case.how, "TESTS": str(case.tests), "WORK_S": str(case.work_s)}
    argv = [str(commands / "pytest"), "--isolate", "-n", str(_WORKERS)]
    began = time.perf_counter()
    done = subprocess.run(argv, check=False, cwd=folder, env=variables, capture_output=True, text=True)
    wall_s = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{case.name} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
    waits = [json.loads(line) for line in (folder / "handed-over.jsonl").read_text().splitlines()]
    assert len(waits) == case.tests
    found = _SUMMARY.search(done.stdout)
    if found is None:
        return Measured(case=case, wall_s=wall_s, waits_s=waits)
    hits, copy_s = int(found[3]) / int(found[2]), int(found[4]) / 1000
    return Measured(case=case, wall_s=wall_s, waits_s=waits, hits=hits, copy_s=copy_s)


def _middle(runs: Sequence[Measured]) -> Measured:
    return sorted(runs, key=lambda m: m.wall_s)[len(runs) // 2]


def _row(measured: Measured) -> list[str]:
    waits = [f"{1000 * median(measured.waits_s):.1f}", f"{1000 * measured.p99_s:.0f}"]
    hits = "" if measured.hits is None else f"{100 * measured.hits:.0f} %"
    copy = "" if measured.copy_s is None else f"{1000 * measured.copy_s:.0f}"
    return [measured.case.name, *waits, hits, copy, f"{measured.scaled_s:.0f}"]


def _judge(ours: Measured) -> str:
    assert ours.hits is not None
    assert ours.copy_s is not None
    rate, needed = _WORKERS / ours.copy_s, _WORKERS / (ours.case.work_s or 1)
    return (
        f"Targets: median at most 2 ms ({1000 * median(ours.waits_s):.1f}), 99th percentile at most 20 ms "
        f"({1000 * ours.p99_s:.0f}), at least 95 % ready at once ({100 * ours.hits:.0f} %). The pools fill at about "
        f"{rate:.0f} copies a second while tests run; these tests take at most {needed:.0f} a second. Faster tests "
        "wait for the server: it has to write some 700 files for each copy."
    )
