"""Run commands in turn, round after round, and say how long each took."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A command to measure: what it is called, what is run, and where.

    One that `reports_seconds` prints its own time as JSON, because what it does before and after does not count.
    """

    name: str
    argv: Sequence[str]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    reports_seconds: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a command: seconds on the clock, and seconds of processor time of it and its children."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles."""

    low: float
    middle: float
    high: float


def measure_in_turn(
    contenders: Sequence[Contender],
    rounds: int,
    around: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> dict[str, list[Sample]]:
    """`rounds` samples for each contender. Every round runs all of them, every second one in reverse order.

    What else the machine does then slows all alike. One round before the first fills caches and is not counted.
    Each run happens inside `around(name)`, whose own time does not count.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in reversed(contenders) if number % 2 else contenders:
            with around(contender.name):
                sample = _run(contender)
            if number:
                samples[contender.name].append(sample)
        print(f"\rround {number} of {rounds}", end="" if number < rounds else "\n", file=sys.stderr, flush=True)
    return samples


def spread(values: Sequence[float]) -> Spread:
    """The middle of the values, and of their lower and upper half."""
    low, _, high = quantiles(values, n=4)
    return Spread(low, median(values), high)


def _run(contender: Contender) -> Sample:
    used_before = _cpu_of_children()
    began = time.perf_counter()
    env = {**clean_env(), **contender.env}
    done = subprocess.run(contender.argv, check=False, cwd=contender.folder, env=env, capture_output=True, text=True)
    wall_s = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{contender.name} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
    if contender.reports_seconds:
        wall_s = float(json.loads(done.stdout)["seconds"])
    return Sample(wall_s, _cpu_of_children() - used_before)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def clean_env() -> dict[str, str]:
    """The environment without what would change how Python or pytest starts."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV_"))}
