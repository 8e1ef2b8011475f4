"""How late a service that answers is handed to its test, and how late a death is reported."""

from __future__ import annotations

import json
import os
import re
import subprocess

from benchmarks.environments import copy_project, ensure_venv_with_plugin
from benchmarks.images import ensure_images
from benchmarks.load import LoadMeter
from benchmarks.measuring import clean_env, spread
from benchmarks.results import build_table
from pytest_isolate.engine.connect import connect

_ROWS = {
    "web": "HTTP service, handed to its test after it first answers",
    "db": "Postgres, its first start, the same",
    "death": "container that exits, reported after its death",
    "event": "the engine's own event of that death",
}
_TARGETS_MS = {"web": 20, "db": 20, "death": 100}


def run(rounds: int, load: LoadMeter) -> str:
    """The section for RESULTS.md."""
    engine = connect(os.environ)
    address = engine.facts().address
    engine.close()
    env = {**ensure_images(address), "DOCKER_HOST": address}
    commands = ensure_venv_with_plugin("plugin", "pytest")
    folder = copy_project("latency")
    found: dict[str, list[float]] = {name: [] for name in _ROWS}
    for _ in range(rounds):
        load.sample()
        argv = [str(commands / "pytest"), "--isolate"]
        done = subprocess.run(argv, check=False, cwd=folder, env=clean_env() | env, capture_output=True, text=True)
        line = re.search(r"^LATENCY (.*)$", done.stdout, re.MULTILINE)
        if not line:
            raise SystemExit(f"pytest ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
        for name, seconds in json.loads(line[1]).items():
            found[name].append(1000 * seconds)
    return "\n\n".join(
        [
            f"A client of its own asks each service every millisecond from before its start. {rounds} runs.",
            build_table(["", "median, ms", "quartiles, ms", "most, ms", "target for the median, ms"], _rows(found)),
        ]
    )


def _rows(found: dict[str, list[float]]) -> list[list[str]]:
    rows = []
    for name, values in found.items():
        seen = spread(values)
        quartiles = f"{seen.low:.1f} to {seen.high:.1f}"
        rows.append(
            [_ROWS[name], f"{seen.middle:.1f}", quartiles, f"{max(values):.1f}", str(_TARGETS_MS.get(name, ""))]
        )
    return rows
