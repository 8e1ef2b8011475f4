"""Starts before collection: how long the first test waits, and what they make of variants with two workers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from benchmarks.contenders import OURS, build_ours
from benchmarks.environments import ROOT
from benchmarks.load import LoadMeter
from benchmarks.measuring import measure_in_turn
from benchmarks.results import build_table
from benchmarks.workloads import prepare

_LATE = ("-o", "isolate_early=false")
_EARLY_FILES = ROOT / "benchmarks/projects/early"
_MOST_WAIT_S, _MOST_OF_ONE = 0.1, 0.7


def run(rounds: int, load: LoadMeter) -> str:
    """The section for RESULTS.md."""
    env = prepare()
    return "\n\n".join([_measure_first_test(rounds, load, env), _measure_variants(rounds, load, env)])


def _measure_first_test(rounds: int, load: LoadMeter, env: Mapping[str, str]) -> str:
    late_name = f"{OURS}, `isolate_early = false`"
    # Both have one folder: whether services start early is an option of each run.
    built = [
        build_ours(OURS, "w2", env, "-p", "noting"),
        build_ours(late_name, "w2", env, "-p", "noting", *_LATE),
    ]
    folder = built[0].folder
    for file in _EARLY_FILES.glob("*.py"):
        shutil.copy(file, folder)
    contenders = [replace(contender, env={**env, "PYTHONPATH": str(folder)}) for contender in built]
    waits: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        load.sample()
        for contender in contenders:
            measure_in_turn([contender], 0, load)
            waited_s = json.loads((folder / "first-test.json").read_text())
            if number:
                waits[contender.name].append(waited_s)
    rows = [[name, f"{median(found):.2f}", f"{min(found):.2f} to {max(found):.2f}"] for name, found in waits.items()]
    return "\n\n".join(
        [
            f"W2's services in a project whose collection takes 5 s: from its end to the first test. {rounds} rounds "
            "in turn, behind one that makes the cache.",
            build_table(["", "median, s", "range, s"], rows),
            f"- The first test begins {median(waits[OURS]):.2f} s after collection; target at most {_MOST_WAIT_S}.",
        ]
    )


def _measure_variants(rounds: int, load: LoadMeter, env: Mapping[str, str]) -> str:
    alone, two = f"{OURS}, one process", f"{OURS}, `-n 2`"
    contenders = [
        build_ours(alone, "w4", env, "-n", "0", project="variants"),
        build_ours(two, "w4", env, "-n", "2", project="variants"),
    ]
    runs = measure_in_turn(contenders, rounds, load)
    rows = [[name, f"{median(found.walls_s):.2f}", f"{min(found.walls_s):.2f}"] for name, found in runs.items()]
    ratio = median(runs[two].walls_s) / median(runs[alone].walls_s)
    return "\n\n".join(
        [
            "29 tests of 0.3 s: 27 of them for one of three databases that are variants of each other. From the "
            f"command to its exit. {rounds} rounds in turn, behind one that makes the cache.",
            build_table(["", "median, s", "fastest, s"], rows),
            f"- `-n 2` takes {ratio:.2f} of the time of one process; target at most {_MOST_OF_ONE}.",
        ]
    )
