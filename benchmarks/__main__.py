"""`python -m benchmarks [--rounds N] [name ...]`: run the named benchmarks (all by default) and write RESULTS.md."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from benchmarks import fresh, latency, overhead, quickstart, workloads
from benchmarks.load import QUIET_PERCENT, LoadMeter
from benchmarks.results import describe_machine, write_section

BENCHMARKS: dict[str, Callable[[int, LoadMeter], str]] = {
    "overhead": overhead.run,
    "latency": latency.run,
    "quickstart": quickstart.run,
    "w1": workloads.run_w1,
    "w2": workloads.run_w2,
    "w3": workloads.run_w3,
    "w4": workloads.run_w4,
    "w5": workloads.run_w5,
    "w6": workloads.run_w6,
    "fresh": fresh.run,
}
ROUNDS = {
    "overhead": 40,
    "latency": 15,
    "quickstart": 9,
    "w1": 9,
    "w2": 9,
    "w3": 3,
    "w4": 9,
    "w5": 40,
    "w6": 5,
    "fresh": 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure pytest-isolate.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--rounds", type=int, help="how often each contender runs")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 2:
        parser.error("--rounds must be 2 at least: quartiles are shown")
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"unknown benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    # So that what a run has left on the engine is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    busy = LoadMeter().sample()
    if busy > QUIET_PERCENT:
        _say(f"The machine is not quiet: others use {busy:.0f} % of its processors. The results will say so.")
    for name in options.names or BENCHMARKS:
        load = LoadMeter()
        section = BENCHMARKS[name](options.rounds or ROUNDS[name], load)
        text = f"{describe_machine(load.describe())}\n\n{section}"
        write_section(name, text)
        print(f"\n## {name}\n\n{text}", flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
