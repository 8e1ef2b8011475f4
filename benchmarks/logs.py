"""Services that write much: what that costs the wait for them, the report, and pytest's memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.environments import copy_project, ensure_venv_with_plugin
from benchmarks.load import LoadMeter
from benchmarks.measuring import clean_env
from benchmarks.results import build_table
from pytest_isolate.engine.connect import connect

_FEW, _MANY, _REPORTED = 1_000, 310_000, 200_000  # lines of 100 bytes


@dataclass(slots=True, kw_only=True)
class Case:
    """A run of the project, and what its rounds took."""

    name: str
    probe: str
    lines: int
    options: Sequence[str] = ()
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    @property
    def row(self) -> list[str]:
        return [self.name, f"{median(self.seconds):.2f}", f"{median(self.megabytes):.0f}"]


def run(rounds: int, load: LoadMeter) -> str:
    """The section for RESULTS.md."""
    engine = connect(os.environ)
    env = {"DOCKER_HOST": engine.facts().address}
    engine.close()
    program, folder = ensure_venv_with_plugin("plugin", "pytest") / "pytest", copy_project("logs")
    report = ["--isolate-report", str(folder / "report.html")]
    quiet, tcp, log = (
        Case(name=f"`{probe}()`, {lines / 10_000:g} MB before it is ready", probe=probe, lines=lines)
        for probe, lines in (("tcp", _FEW), ("tcp", _MANY), ("log", _MANY))
    )
    read = Case(name=f"`tcp()`, {_REPORTED:,} lines", probe="tcp", lines=_REPORTED)
    told = Case(name=f"`tcp()`, {_REPORTED:,} lines, with `--isolate-report`", probe="tcp", lines=_REPORTED)
    told.options = report
    cases = [quiet, tcp, log, read, told]
    for number in range(rounds):
        load.sample()
        for case in reversed(cases) if number % 2 else cases:
            _measure(case, program, folder, env)
    times = median(a / b for a, b in zip(log.seconds, tcp.seconds, strict=True))
    more = median(log.megabytes) - median(tcp.megabytes)
    added_s = median(a - b for a, b in zip(told.seconds, read.seconds, strict=True))
    return "\n\n".join(
        [
            f"A service that writes lines of 100 bytes before it is ready, and one test. {rounds} rounds in turn.",
            build_table(["", "median, s", "pytest at its largest, MB"], [case.row for case in cases]),
            f"- `log()` takes {times:.2f} times as long as `tcp()`; target at most 1.3. It takes {more:.0f} MB more; "
            f"target at most 30.\n- The report adds {added_s:.2f} s, most of which the engine reads the log.",
        ]
    )


def _measure(case: Case, program: Path, folder: Path, env: Mapping[str, str]) -> None:
    env = {**clean_env(), **env, "LINES": str(case.lines), "PROBE": case.probe}
    argv, began = [str(program), "--isolate", *case.options], time.perf_counter()
    process = subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # Not by the process's own method, which tells no memory.
        _, status, used = os.wait4(process.pid, 0)
    except BaseException:
        process.terminate()
        raise
    if status:
        raise SystemExit(f"{case.name}: pytest ended with code {os.waitstatus_to_exitcode(status)}")
    case.seconds.append(time.perf_counter() - began)
    case.megabytes.append(used.ru_maxrss / 1000)
