"""Kill runs at random moments and count what they leave behind: python -m crash --trials 100 (in the folder tests)."""

from __future__ import annotations

import argparse
import os
import random
import secrets
import statistics
import sys
from collections import Counter
from collections.abc import Iterable

import docker

from crash.observing import Counts
from crash.trials import CLEAN_WITHIN_S, KINDS, PHASES, Kind, Outcome, run_trials
from pytest_isolate.engine.connect import connect


def main() -> int:
    """Run the trials; the exit code says whether each one was clean and in time."""
    parser = argparse.ArgumentParser(prog="python -m crash", description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--only", default="", help="only kinds whose description holds this text")
    options = parser.parse_args()
    print(f"{options.trials} trials, --seed {options.seed}", flush=True)
    engine = connect(os.environ)
    client = docker.APIClient(base_url=engine.facts().address)
    engine.close()
    kinds = pick_kinds(options.trials, options.seed, options.only)
    outcomes = run_trials(kinds, options.seed, client, lambda line: print(line, flush=True))
    client.close()
    print(*summarize(outcomes), sep="\n")
    return 1 if any(o.problem for o in outcomes) else 0


def pick_kinds(trials: int, seed: int, only: str = "") -> list[Kind]:
    """As many kinds, each as often as the others, in random order."""
    possible = [kind for kind in KINDS if only in str(kind)]
    kinds = [possible[n % len(possible)] for n in range(trials)]
    random.Random(seed).shuffle(kinds)
    return kinds


def summarize(outcomes: Iterable[Outcome]) -> list[str]:
    """The figures."""
    outcomes = list(outcomes)
    cleaners = Counter(o.cleaner for o in outcomes)
    left = sum((o.left for o in outcomes), Counts())
    lines = [f"{len(outcomes)} trials; cleaned by " + ", ".join(f"{who}: {n}" for who, n in cleaners.items())]
    phases = Counter(o.phase for o in outcomes if o.killed)
    lines.append("killed: " + ", ".join(f"{phase}: {phases[phase]}" for phase in PHASES))
    lines.append(f"there at the moment of the kill: {sum(bool(o.there) for o in outcomes)} trials had something")
    times = [o.clean_s for o in outcomes if o.clean_s is not None]
    if times:
        median = statistics.median(times)
        lines.append(
            f"from the controller's death to nothing left, guardian alive: median {median:.2f} s, "
            f"max {max(times):.2f} s (allowed: {CLEAN_WITHIN_S} s)"
        )
    lines.append(f"left behind in all: {left}")
    lines.append(f"trials with a problem: {sum(bool(o.problem) for o in outcomes)}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
