"""`python -m benchmarks [--rounds N] [name ...]`: run the named benchmarks (all by default) and write RESULTS.md."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import early, fresh, latency, logs, overhead, pods, quickstart, tunnel, workloads
from benchmarks.load import QUIET_PERCENT, LoadMeter
from benchmarks.results import describe_machine, write_section


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How it is run, how often by default, and how many seconds a round took on a quiet machine with 2 processors."""

    run: Callable[[int, LoadMeter], str]
    rounds: int
    round_s: float
    uncounted_rounds: int = 1  # they fill caches


BENCHMARKS = {
    "overhead": Benchmark(overhead.run, rounds=40, round_s=2),
    "latency": Benchmark(latency.run, rounds=15, round_s=4, uncounted_rounds=0),
    "early": Benchmark(early.run, rounds=5, round_s=30),
    "logs": Benchmark(logs.run, rounds=5, round_s=30, uncounted_rounds=0),
    "quickstart": Benchmark(quickstart.run, rounds=9, round_s=15),
    "w1": Benchmark(workloads.run_w1, rounds=9, round_s=55),
    "w2": Benchmark(workloads.run_w2, rounds=9, round_s=60),
    "w3": Benchmark(workloads.run_w3, rounds=3, round_s=145),
    "w4": Benchmark(workloads.run_w4, rounds=9, round_s=60),
    "w5": Benchmark(workloads.run_w5, rounds=40, round_s=6),
    "w6": Benchmark(workloads.run_w6, rounds=5, round_s=35),
    "tunnel": Benchmark(tunnel.run, rounds=3, round_s=40, uncounted_rounds=0),
    "pods": Benchmark(pods.run, rounds=1, round_s=300, uncounted_rounds=0),
    "fresh": Benchmark(fresh.run, rounds=1, round_s=115, uncounted_rounds=0),
}
_SET_UP_S = 20  # of each: the plugin is installed as it is now; environments and images are there


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for; `rounds` overrides the number of every benchmark."""

    names: Sequence[str]
    rounds: int | None
    writes: bool

    def rounds_of(self, name: str) -> int:
        return self.rounds or BENCHMARKS[name].rounds


def parse_options(arguments: Sequence[str]) -> Options:
    """Read the command line; a wrong one ends the program and says what is right."""
    known = ", ".join(BENCHMARKS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure pytest-isolate.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which: {known} (default: all)")
    parser.add_argument("--rounds", type=int, help="how often each contender runs")
    parser.add_argument("--no-write", action="store_true", help="show the results, leave RESULTS.md as it is")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    names = dict.fromkeys(name.lower() for name in options.names)  # each once
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"unknown benchmark {name!r}; there are {known}")
    return Options(list(names or BENCHMARKS), options.rounds, not options.no_write)


def estimate_s(name: str, rounds: int) -> float:
    """Seconds that a benchmark takes, from what it took before."""
    benchmark = BENCHMARKS[name]
    return _SET_UP_S + benchmark.round_s * (rounds + benchmark.uncounted_rounds)


def describe_estimate(options: Options) -> str:
    """How long it will all take, and each of it."""
    rounds = {name: options.rounds_of(name) for name in options.names}
    seconds = {name: estimate_s(name, rounds[name]) for name in options.names}
    each = [f"  {name}: {rounds[name]} round{'s' * (rounds[name] > 1)}, {_minutes(seconds[name])}" for name in rounds]
    return "\n".join(
        [
            f"This will take {_minutes(sum(seconds.values()))}. That is an estimate, for a quiet machine with "
            "2 processors; the first time, environments and images take some minutes more.",
            *each,
        ]
    )


def _minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"about {minutes} minute{'s' * (minutes > 1)}"


def main() -> None:
    options = parse_options(sys.argv[1:])
    # So that what a run has left on the engine is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    _say(describe_estimate(options))
    busy = LoadMeter().sample()
    if busy > QUIET_PERCENT:
        _say(f"The machine is not quiet: others use {busy:.0f} % of its processors. The results will say so.")
    for name in options.names:
        _say(f"{name}:")
        load = LoadMeter()
        section = BENCHMARKS[name].run(options.rounds_of(name), load)
        text = f"{describe_machine(load.describe())}\n\n{section}"
        if options.writes:
            write_section(name, text)
        print(f"\n## {name}\n\n{text}", flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
