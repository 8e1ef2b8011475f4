"""Run commands in turn, round after round, and say how long each took."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from textwrap import shorten

from benchmarks.load import LoadMeter

TIMEOUT_S = 600  # no run takes that long; one that hangs must not stop the benchmark


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A command to measure: what it is called, what is run, and where.

    One that `reports_seconds` prints its own time as JSON, because what it does before and after does not count.
    A failed run of one that `may_fail` is counted, and the benchmark goes on; any other failure ends it.
    """

    name: str
    argv: Sequence[str]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    reports_seconds: bool = False
    may_fail: bool = False


class RunFailedError(Exception):
    """A run has failed; the text says how, and ends with the program's output."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a command: seconds on the clock, and seconds of processor time of it and its children."""

    wall_s: float
    cpu_s: float


@dataclass(slots=True)
class Runs:
    """The runs of one contender: those that succeeded, and the reasons why others failed."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def walls_s(self) -> list[float]:
        return [sample.wall_s for sample in self.samples]

    def describe_failures(self) -> str:
        """For a table: "2 of 9", or "none"."""
        return f"{len(self.failures)} of {len(self.failures) + len(self.samples)}" if self.failures else "none"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles."""

    low: float
    middle: float
    high: float


def measure_in_turn(
    contenders: Sequence[Contender],
    rounds: int,
    load: LoadMeter,
    around: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> dict[str, Runs]:
    """`rounds` runs of each contender. Every round runs all of them, every second one in reverse order.

    What else the machine does then slows all alike. One round before the first fills caches and is not counted.
    Each run happens inside `around(name)`, whose own time does not count.
    """
    runs = {contender.name: Runs() for contender in contenders}
    for number in range(rounds + 1):
        if number:
            load.sample()
        for contender in reversed(contenders) if number % 2 else contenders:
            measured = Runs() if number == 0 else runs[contender.name]
            try:
                with around(contender.name):
                    measured.samples.append(_run(contender))
            except RunFailedError as error:
                if not contender.may_fail:
                    raise SystemExit(f"{contender.name} {error}") from error
                measured.failures.append(find_reason(str(error)))
        if rounds:
            print(f"\rround {number} of {rounds}", end="" if number < rounds else "\n", file=sys.stderr, flush=True)
    return runs


def spread(values: Sequence[float]) -> Spread:
    """The middle of the values, and of their lower and upper half; all the same where there is one value."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else [*values] * 3
    return Spread(low, median(values), high)


def _run(contender: Contender) -> Sample:
    used_before = _cpu_of_children()
    began = time.perf_counter()
    env = {**clean_env(), **contender.env}
    output = _output_of(contender, env)
    wall_s = time.perf_counter() - began
    if contender.reports_seconds:
        wall_s = float(json.loads(output)["seconds"])
    return Sample(wall_s, _cpu_of_children() - used_before)


def _output_of(contender: Contender, env: Mapping[str, str]) -> str:
    pipe = subprocess.PIPE
    # In a session of its own, so that all of its processes end when it is given up.
    with subprocess.Popen(
        contender.argv, cwd=contender.folder, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise RunFailedError(f"was not done after {TIMEOUT_S} s") from error
            raise
    if process.returncode:
        raise RunFailedError(f"ended with code {process.returncode}:\n{output}{errors}")
    return output


def find_reason(text: str) -> str:
    """The first error that pytest shows of a failed run, or the first line of the text."""
    lines = text.splitlines()
    shown = [line.removeprefix("E ") for line in lines if line.startswith("E ")] or [lines[0].rstrip(":")]
    reason = shown[0].replace(str(Path.home()), "~")  # it is kept in RESULTS.md
    return shorten("".join(c if c.isprintable() else " " for c in reason), 200)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def clean_env() -> dict[str, str]:
    """The environment without what would change how Python or pytest starts."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV_"))}
