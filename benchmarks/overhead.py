"""What the plugin costs in a run without --isolate: beside an environment that holds nothing but pytest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.environments import copy_project, ensure_venv, ensure_venv_with_plugin, version_of
from benchmarks.load import LoadMeter
from benchmarks.measuring import Contender, Sample, clean_env, measure_in_turn, spread
from benchmarks.results import build_table

TARGET_MS = 15
WHOLE, PART = "entry points, imports included", "part: "  # as inside.py names them
_WITHOUT = "pytest alone"
_WITH = "with the plugin"
_DECLARED = "with the plugin and a conftest.py that declares services"


def run(rounds: int, load: LoadMeter) -> str:
    """The section for RESULTS.md."""
    bare, full = ensure_venv("bare", "pytest"), ensure_venv_with_plugin("plugin", "pytest")
    plain, declared = copy_project("plain"), copy_project("declared")
    contenders = [
        Contender(name=_WITHOUT, argv=[str(bare / "pytest")], folder=plain),
        Contender(name=_WITH, argv=[str(full / "pytest")], folder=plain),
        Contender(name=_DECLARED, argv=[str(full / "pytest")], folder=declared),
    ]
    samples = {name: runs.samples for name, runs in measure_in_turn(contenders, rounds, load).items()}
    inside = _measure_inside([(bare, plain), (full, plain), (full, declared)], rounds, load)
    outside = spread(_differences_ms([s.wall_s for s in samples[_WITH]], [s.wall_s for s in samples[_WITHOUT]]))
    return "\n".join(
        [
            f"`pytest` without `--isolate`, pytest {version_of(bare, 'pytest')}, one test that does nothing; "
            f"{rounds} rounds in turn.",
            "*Added* is the median of the differences to the same round's run of pytest alone.",
            "",
            build_table(
                ["", "median, ms", "quartiles, ms", "fastest, ms", "added, ms", "added processor time, ms"],
                [_row(name, samples[name], samples[_WITHOUT]) for name in samples],
            ),
            "",
            "What pytest spends on plugins, measured inside the process and so less disturbed by what else the machine "
            f"does; fastest / median of {rounds}, ms. What is indented is part of the line of entry points:",
            "",
            _build_inside_table(inside),
            "",
            f"Target: at most {TARGET_MS} ms added by the plugin. Measured inside: {_total_ms(inside):.1f} ms; from "
            f"outside: {outside.middle:.1f} ms, quartiles {outside.low:.1f} to {outside.high:.1f}"
            + (
                ", so the machine was too busy to tell from outside." if outside.high - outside.low > TARGET_MS else "."
            ),
        ]
    )


def _measure_inside(places: Sequence[tuple[Path, Path]], rounds: int, load: LoadMeter) -> list[dict[str, list[float]]]:
    """Milliseconds by what they were spent on, for each of these environments and projects."""
    found: list[dict[str, list[float]]] = [{} for _ in places]
    for number in range(1, rounds + 1):
        load.sample()
        for times, (commands, folder) in zip(found, places, strict=True):
            argv = [str(commands / "python"), str(Path(__file__).parent / "inside.py")]
            done = subprocess.run(argv, check=True, cwd=folder, env=clean_env(), capture_output=True, text=True)
            for what, seconds in json.loads(done.stdout).items():
                times.setdefault(what, []).append(1000 * seconds)
        print(f"\rinside: round {number} of {rounds}", end="" if number < rounds else "\n", file=sys.stderr, flush=True)
    return found


def _total_ms(inside: Sequence[dict[str, list[float]]]) -> float:
    """The difference between the first two, in medians."""
    without, with_plugin = (
        sum(median(values) for what, values in times.items() if not what.startswith(PART)) for times in inside[:2]
    )
    return with_plugin - without


def _build_inside_table(inside: Sequence[dict[str, list[float]]]) -> str:
    found = {what for times in inside for what, values in times.items() if median(values) >= 0.1}
    order = sorted(found, key=lambda what: -median(inside[-1].get(what, [0])))
    whole = [what for what in order if not what.startswith(PART)]
    below = whole.index(WHOLE) + 1
    order = [*whole[:below], *(what for what in order if what.startswith(PART)), *whole[below:]]
    rows = [
        [what.replace(PART, "&nbsp;&nbsp;"), *(_fastest_and_median(times.get(what, [])) for times in inside)]
        for what in order
    ]
    return build_table(["", _WITHOUT, _WITH, "and services declared"], rows)


def _fastest_and_median(values: Sequence[float]) -> str:
    return f"{min(values):.1f} / {median(values):.1f}" if values else ""


def added_ms(values: Sequence[float], without: Sequence[float]) -> float:
    """The median difference within a round, in milliseconds."""
    return median(_differences_ms(values, without))


def _differences_ms(values: Sequence[float], without: Sequence[float]) -> list[float]:
    return [1000 * (a - b) for a, b in zip(values, without, strict=True)]


def _row(name: str, samples: Sequence[Sample], without: Sequence[Sample]) -> list[str]:
    wall = spread([1000 * s.wall_s for s in samples])
    if samples is without:
        added = ["", ""]
    else:
        wall_added = added_ms([s.wall_s for s in samples], [s.wall_s for s in without])
        cpu_added = added_ms([s.cpu_s for s in samples], [s.cpu_s for s in without])
        added = [f"{wall_added:.1f}", f"{cpu_added:.1f}"]
    fastest = 1000 * min(s.wall_s for s in samples)
    return [name, f"{wall.middle:.1f}", f"{wall.low:.1f} to {wall.high:.1f}", f"{fastest:.1f}", *added]
