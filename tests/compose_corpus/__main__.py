"""Print counts and every difference for the Compose files below some folders."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .reading import Reading, read_both

_SCRIPT = Path(__file__).parents[2] / "scripts/docker_compose.py"
_SERVICES = re.compile(r"^services:", re.MULTILINE)


def find_command() -> str:
    """Return the command of Docker Compose 2, which is fetched if it is missing."""
    return subprocess.run([sys.executable, _SCRIPT], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def find_files(folder: Path) -> list[Path]:
    """Return the YAML files that have a table of services."""
    found = sorted(p for ending in ("yml", "yaml") for p in folder.rglob(f"*.{ending}") if p.is_file())
    return [p for p in found if _SERVICES.search(p.read_text(encoding="utf-8", errors="replace"))]


def read_all(files: Iterable[Path], command: str) -> list[Reading]:
    """Read files with both programs, a few at a time."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda file: read_both(file, command), files))


def describe(title: str, readings: Sequence[Reading]) -> Iterable[str]:
    """The table of one folder, and what stands behind its numbers."""
    taken = [r for r in readings if not r.refused]
    needing = [r for r in taken if r.permissions and not r.problems]
    counts = {
        "files": len(readings),
        "Docker Compose takes": len(taken),
        "plan": sum(r.plans for r in taken),
        "need a permission": len(needing),
        "are refused": sum(bool(r.problems) for r in taken),
        "differ": sum(bool(r.differences) for r in taken),
    }
    yield title
    yield from (f"  {name:<22}{number:>5}" for name, number in counts.items())
    share = counts["plan"] / max(1, len(taken) - len(needing))
    yield f"  {'plan of the rest':<22}{share:>7.1%}"
    reasons = Counter(reason for r in taken for reason in {_reason(p) for p in r.problems})
    yield from (f"  {number:>5}  {reason}" for reason, number in reasons.most_common())
    for reading in taken:
        yield from (f"  differs {reading.file}: {difference}" for difference in reading.differences)


def _reason(problem: str) -> str:
    """A problem without its place and what its file calls things."""
    first = problem.splitlines()[0].split(": ", 2)
    key = re.sub(r"^services\.[^.]+", "services.*", re.sub(r"\[\d+\]", "[]", first[1]))
    return f"{key}: {re.sub(r'/[^ ]+', '/...', first[-1])[:140]}"


def main(folders: Sequence[str]) -> int:
    """Compare all files of folders; the exit code is 1 if any is refused or differs."""
    command = find_command()
    every: list[Reading] = []
    for folder in folders:
        readings = read_all(find_files(Path(folder).resolve()), command)
        print(*describe(folder, readings), sep="\n")
        every += readings
    if len(folders) > 1:
        print(*describe("all", every), sep="\n")
    return int(any(r.problems or r.differences for r in every))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
