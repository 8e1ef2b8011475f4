"""W1 to W6: the same services and tests for this plugin, its peers and the limit, from command to exit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median, mode

from benchmarks.contenders import (
    BARE,
    INITIALISED,
    LIMIT,
    OURS,
    PEERS,
    build_bare,
    build_limit,
    build_ours,
    build_peers,
    describe_peers,
)
from benchmarks.engine import Engine
from benchmarks.environments import clone_id
from benchmarks.images import LABEL, ensure_images
from benchmarks.imports import describe_imports
from benchmarks.leftovers import Leftovers
from benchmarks.load import LoadMeter
from benchmarks.measuring import Contender, RunFailedError, Runs, measure_in_turn, spread
from benchmarks.results import build_table
from pytest_isolate.engine.connect import connect

_COLD = f"{OURS}, `--isolate-no-cache`"
_REUSED = f"{OURS}, `--isolate-reuse`"
_COPIES = f"{OURS}, `fresh()`"
_OF_W1 = f"{OURS}, W1"
_FEW, _MANY = 2, 20  # stacks of two services each
_PEER_NAMES = {peer.name for peer in PEERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was measured in the rounds of one workload."""

    seconds: Mapping[str, Sequence[float]]  # of the runs that succeeded
    runs: Mapping[str, Runs]
    left: Mapping[str, str]
    rounds: int
    engine: str

    def median_s(self, name: str) -> float:
        return median(self.seconds[name])

    def ratio(self, name: str, to: str) -> float:
        return self.median_s(name) / self.median_s(to)

    def describe_speed(self, name: str, peer: str) -> str:
        """How many times as fast as a peer, which may have failed in some runs or in all."""
        if not self.seconds[peer]:
            return f"cannot be compared to {peer}, which always failed"
        failed = f" (failed {self.runs[peer].describe_failures()} times)" if self.runs[peer].failures else ""
        return f"{self.ratio(peer, name):.2f} times as fast as {peer}{failed}"

    def fastest_peer(self) -> str | None:
        """The fastest of those that succeeded at least once; None where all failed."""
        peers = (name for name in self.seconds if name in _PEER_NAMES and self.seconds[name])
        return min(peers, key=self.median_s, default=None)


def run_w1(rounds: int, load: LoadMeter) -> str:
    """One Postgres, one Redis, one auth service that needs the Postgres; three tests, one for each."""
    env = prepare()
    outcome = _measure(
        [
            build_ours(OURS, "w1", env),
            build_ours(_COLD, "w1", env, "--isolate-no-cache"),
            build_ours(_REUSED, "w1", env, "--isolate-reuse", f"--isolate-project=benchmark-{clone_id()}"),
            *build_peers("w1", env),
            build_limit(LIMIT, "w1", env),
            build_limit(INITIALISED, "w1", env, "--initialised"),
            build_bare(),
        ],
        rounds,
        load,
    )
    added_s = outcome.median_s(_REUSED) - outcome.median_s(BARE)
    return _describe(
        "One Postgres, one Redis, one HTTP auth service that needs the Postgres; three tests, one for each.",
        outcome,
        [
            *_against_limit_and_peers(outcome, 3),
            f"With `--isolate-reuse`: {added_s:.2f} s over pytest alone; target 0.4.",
            describe_imports(build_ours(OURS, "w1", env), build_bare()),
        ],
    )


def run_w2(rounds: int, load: LoadMeter) -> str:
    """Five services with dependencies."""
    env = prepare()
    outcome = _measure(
        [
            build_ours(OURS, "w2", env),
            build_ours(_COLD, "w2", env, "--isolate-no-cache"),
            *build_peers("w2", env),
            build_limit(LIMIT, "w2", env),
            build_limit(INITIALISED, "w2", env, "--initialised"),
            build_bare(),
        ],
        rounds,
        load,
    )
    return _describe(
        "Five services: Postgres, Redis, an auth service that needs the Postgres, an HTTP service that needs both, and "
        "one that needs nothing; five tests, one for each.",
        outcome,
        _against_limit_and_peers(outcome, 2.3),
    )


def run_w3(rounds: int, load: LoadMeter) -> str:
    """A container for each test."""
    env = prepare()
    outcome = _measure(
        [
            build_ours(OURS, "w3", env),
            build_ours(_COPIES, "w3", env | {"FRESH": "1"}),
            *build_peers("w3", env),
            build_limit(LIMIT, "w3", env),
            build_limit(INITIALISED, "w3", env, "--initialised"),
            build_bare(),
        ],
        rounds,
        load,
    )
    times, copies = (outcome.describe_speed(name, "testcontainers") for name in (OURS, _COPIES))
    return _describe(
        "Ten tests, each with a Postgres of its own; with `fresh()` a database of its own. The limit keeps two "
        "starting at a time.",
        outcome,
        [
            f"{times}; target at least 9.",
            f"With `fresh()`, a database of its own for each test: {copies}; target at least 16.",
        ],
    )


def run_w4(rounds: int, load: LoadMeter) -> str:
    """W1's services and twenty tests in two workers."""
    env = prepare()
    parallel = ("-n", "2")
    outcome = _measure(
        [
            build_ours(OURS, "w4", env, *parallel),
            build_ours(_OF_W1, "w1", env),
            *build_peers("w4", env, *parallel),
            build_limit(LIMIT, "w4", env),
            build_bare(*parallel),
        ],
        rounds,
        load,
    )
    return _describe(
        "W1's services, twenty small tests, two workers of pytest-xdist; *W1* is measured in the same rounds, and "
        "pytest alone has two workers, too. Peers start a set of services for each worker, but pytest-databases.",
        outcome,
        [f"{outcome.ratio(OURS, _OF_W1):.2f} of the time of W1; target at most 1.2."],
    )


def run_w5(rounds: int, load: LoadMeter) -> str:
    """A test that needs no service, where services are declared."""
    env = prepare()
    outcome = _measure([build_ours(OURS, "w5", env), *build_peers("w5", env), build_bare()], rounds, load)
    pairs = zip(outcome.seconds[OURS], outcome.seconds[BARE], strict=True)
    added_ms = 1000 * median(ours - bare for ours, bare in pairs)
    return _describe(
        "One test that needs no service, in a project that declares W2's services; with `--isolate`.",
        outcome,
        [
            f"Added to pytest alone, median of the differences within a round: {added_ms:.0f} ms; target at most 15.",
            describe_imports(build_ours(OURS, "w5", env), build_bare()),
        ],
    )


def run_w6(rounds: int, load: LoadMeter) -> str:
    """Many small services in many stacks."""
    env = prepare()
    outcome = _measure(
        [
            *(build_ours(_of_stacks(OURS, n), "w6", env | _stacks(n), project="stacks") for n in (_FEW, _MANY)),
            *(build_limit(_of_stacks(LIMIT, n), "w6", env | _stacks(n)) for n in (_FEW, _MANY)),
            build_bare(),
        ],
        rounds,
        load,
    )
    few, many = (
        1000 * (outcome.median_s(_of_stacks(OURS, n)) - outcome.median_s(BARE)) / (2 * n) for n in (_FEW, _MANY)
    )
    return _describe(
        "Small HTTP services, two in a stack, and one test that asks each of them.",
        outcome,
        [
            f"Over pytest alone, a service costs {few:.0f} ms where there are {2 * _FEW}, and {many:.0f} ms where "
            f"there are {2 * _MANY}: {many / few:.2f} times as much; target at most 1.3."
        ],
    )


def _of_stacks(name: str, stacks: int) -> str:
    return f"{name}, {2 * stacks} services in {stacks} stacks"


def _stacks(number: int) -> dict[str, str]:
    return {"STACKS": str(number)}


def prepare() -> dict[str, str]:
    """The environment of all contenders: where the images and the engine are."""
    address, _ = _find_engine()
    return {**ensure_images(address), "DOCKER_HOST": address}


def _find_engine() -> tuple[str, str]:
    engine = connect(os.environ)
    try:
        facts = engine.facts()
    finally:
        engine.close()
    return facts.address, f"{facts.name} {facts.version}"


def _measure(contenders: Sequence[Contender], rounds: int, load: LoadMeter) -> Outcome:
    address, engine = _find_engine()
    client = Engine(address)
    leftovers = Leftovers(client, LABEL, keeping=[_REUSED])

    def around(name: str) -> AbstractContextManager[None]:
        if name == "pytest-databases":
            _refuse_to_harm_others(client)
        return leftovers.watch(name)

    try:
        runs = measure_in_turn(contenders, rounds, load, around)
    finally:
        leftovers.remove_kept()
    return Outcome(
        seconds={name: _seconds(name, runs) for name in runs},
        runs=runs,
        left={name: leftovers.describe(name) for name in runs},
        rounds=rounds,
        engine=engine,
    )


def _refuse_to_harm_others(client: Engine) -> None:
    """pytest-databases kills whatever carries its label, whoever started it."""
    if client.call("GET", "/containers/json", all=1, filters={"label": ["pytest_databases"]}):
        raise RunFailedError("was not run: others use it on this engine, and it would kill their containers")


def _seconds(name: str, runs: Mapping[str, Runs]) -> list[float]:
    """To the limit of what the engine can do comes what pytest takes without any of it, in the same round."""
    if not name.startswith(LIMIT):
        return runs[name].walls_s
    return [wall + bare for wall, bare in zip(runs[name].walls_s, runs[BARE].walls_s, strict=True)]


def _against_limit_and_peers(outcome: Outcome, times: float) -> list[str]:
    """With databases from snapshots, and with nothing cached but the images; targets from the project's plan."""
    peer = outcome.fastest_peer()
    return [
        f"{name}: {outcome.ratio(name, limit):.2f} times {limit}, target at most {most}; "
        + (f"{outcome.describe_speed(name, peer)}, the fastest peer" if peer else "every run of every peer failed")
        + f", target at least {least}."
        for name, limit, most, least in ((OURS, INITIALISED, 1.3, times), (_COLD, LIMIT, 1.25, 1.5))
    ]


def _describe(what: str, outcome: Outcome, findings: Sequence[str]) -> str:
    paragraphs = [
        f"{what} From the command to its exit; the images are there. {outcome.rounds} rounds in turn.",
        _build_table(outcome),
        "\n".join(f"- {finding}" for finding in [*_list_failures(outcome), *findings]),
        f"{outcome.engine}. {describe_peers()} How each is used: [projects](projects/).",
    ]
    if any(name.startswith(LIMIT) for name in outcome.seconds):
        paragraphs.append(
            "The limit is a bare program that starts all at once, data on tmpfs or in an initialised image, and does "
            f"not wait for removals ([limit.py](limit.py)); to its time that of *{BARE}* in the same round is added."
        )
    return "\n\n".join(paragraphs)


def _list_failures(outcome: Outcome) -> list[str]:
    return [
        f"{name} failed {runs.describe_failures()} times"
        + (", its times are those of the other runs" if runs.samples else "")
        + f"; most often: {mode(runs.failures)}"
        for name, runs in outcome.runs.items()
        if runs.failures
    ]


def _build_table(outcome: Outcome) -> str:
    ours_s = median(next(values for name, values in outcome.seconds.items() if name.startswith(OURS)))
    head = ["", "median, s", "quartiles, s", "fastest, s", "times pytest-isolate", "failed", "leaves behind, in a run"]
    return build_table(head, [_row(name, values, ours_s, outcome) for name, values in outcome.seconds.items()])


def _row(name: str, values: Sequence[float], ours_s: float, outcome: Outcome) -> list[str]:
    end = [outcome.runs[name].describe_failures(), outcome.left[name]]
    if not values:
        return [name, "", "", "", "", *end]
    wall = spread(values)
    quartiles = f"{wall.low:.2f} to {wall.high:.2f}"
    ratio = f"{wall.middle / ours_s:.2f}"
    return [name, f"{wall.middle:.2f}", quartiles, f"{min(values):.2f}", ratio, *end]
