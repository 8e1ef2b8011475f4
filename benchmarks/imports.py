"""What a run imports, and how long that takes: `python -X importtime`."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.measuring import Contender, clean_env

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)")
_ROUNDS = 5
_PLUGIN = "pytest_isolate"


def describe_imports(contender: Contender, bare: Contender) -> str:
    """What a contender's run imports beyond what pytest alone does: modules and milliseconds, the dearest first."""
    runs = [_read_imports(contender) for _ in range(_ROUNDS)]
    known = set(_read_imports(bare))
    added = {module: median(run.get(module, 0) for run in runs) for module in runs[0] if module not in known}
    packages: Counter[str] = Counter()
    for module, microseconds in added.items():
        packages[module.partition(".")[0]] += int(microseconds)
    dearest = ", ".join(f"{name} {us / 1000:.1f}" for name, us in packages.most_common(6))
    own = sum(module.startswith(_PLUGIN) for module in added)
    return (
        f"Imported beyond what pytest alone imports: {len(added)} modules, {own} of them the plugin's, in "
        f"{sum(packages.values()) / 1000:.0f} ms with the clock of `-X importtime` running, median of {_ROUNDS} runs; "
        f"by package, ms: {dearest}."
    )


def _read_imports(contender: Contender) -> dict[str, int]:
    """Microseconds by module, of the process that runs pytest; its children write to pipes of their own.

    With `-s`, or pytest would capture what is said of the imports of a conftest.py.
    """
    command, *options = *contender.argv, "-s"
    argv: Sequence[str] = [str(Path(command).with_name("python")), "-X", "importtime", "-m", "pytest", *options]
    env = {**clean_env(), **contender.env}
    done = subprocess.run(argv, check=False, cwd=contender.folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{contender.name} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
    return {match[2]: int(match[1]) for match in map(_LINE.match, done.stderr.splitlines()) if match}
