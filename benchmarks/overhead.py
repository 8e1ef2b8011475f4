"""What the plugin costs in a run without --isolate: beside an environment that holds nothing but pytest."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.environments import copy_project, ensure_venv, ensure_venv_with_plugin, version_of
from benchmarks.measuring import Contender, Sample, measure_in_turn, spread
from benchmarks.results import build_table

TARGET_MS = 15
_WITHOUT = "pytest alone"
_WITH = "with the plugin"
_DECLARED = "with the plugin and a conftest.py that declares services"


def run(rounds: int) -> str:
    """The section for RESULTS.md."""
    bare, full = ensure_venv("bare", "pytest"), ensure_venv_with_plugin("plugin", "pytest")
    plain, declared = copy_project("plain"), copy_project("declared")
    contenders = [
        Contender(name=_WITHOUT, argv=[str(bare / "pytest")], folder=plain),
        Contender(name=_WITH, argv=[str(full / "pytest")], folder=plain),
        Contender(name=_DECLARED, argv=[str(full / "pytest")], folder=declared),
    ]
    samples = measure_in_turn(contenders, rounds)
    added = added_ms([s.wall_s for s in samples[_WITH]], [s.wall_s for s in samples[_WITHOUT]])
    verdict = "met" if added <= TARGET_MS else "missed"
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
            f"Target: at most {TARGET_MS} ms added by the plugin. Measured: {added:.1f} ms ({verdict}).",
        ]
    )


def added_ms(values: Sequence[float], without: Sequence[float]) -> float:
    """The median difference within a round, in milliseconds."""
    return 1000 * spread([a - b for a, b in zip(values, without, strict=True)]).middle


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
