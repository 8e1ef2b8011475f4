"""How busy others keep the machine: asked before each round, when nothing of the benchmark runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psutil

QUIET_PERCENT = 10  # of all processors
_WINDOW_S = 0.3
_WINDOWS = 5


def _busy_percent() -> float:
    return psutil.cpu_percent(interval=_WINDOW_S)


class LoadMeter:
    """Samples of the load, in percent of all processors."""

    def __init__(self, measure: Callable[[], float] = _busy_percent) -> None:
        self._measure = measure
        self._samples: list[float] = []

    def sample(self) -> float:
        """Take the least of a few windows: the engine may still remove what the round before has left."""
        windows: list[float] = []
        while len(windows) < _WINDOWS and (not windows or windows[-1] > QUIET_PERCENT):
            windows.append(self._measure())
        self._samples.append(min(windows))
        return self._samples[-1]

    def describe(self) -> str:
        """A line for the results."""
        return describe_load(self._samples)


def describe_load(samples: Sequence[float]) -> str:
    """The verdict: quiet, or in how many rounds it was not."""
    busy = [sample for sample in samples if sample > QUIET_PERCENT]
    most = f"{max(samples):.0f} % of its processors"
    if not busy:
        return f"The machine was quiet: before each round, others used at most {most}."
    return (
        f"**The machine was not quiet**: before {len(busy)} of {len(samples)} rounds, others used more than "
        f"{QUIET_PERCENT} %, at most {most}. Measure again before you rely on these numbers."
    )
