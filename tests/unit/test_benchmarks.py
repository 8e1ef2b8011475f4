"""What `make bench` decides, without running anything that it measures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

# At the end: the package is the one that is installed, not the one beside this folder.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.__main__ import BENCHMARKS, describe_estimate, estimate_s, parse_options
from benchmarks.load import LoadMeter, describe_load
from benchmarks.measuring import Contender, Runs, Sample, find_reason, measure_in_turn, spread
from benchmarks.workloads import Outcome


def _load() -> LoadMeter:
    return LoadMeter(lambda: 0.0)


def _contender(name: str, code: str, *, may_fail: bool = False) -> Contender:
    return Contender(name=name, argv=[sys.executable, "-c", code], folder=Path(), may_fail=may_fail)


def _outcome(**runs: Runs) -> Outcome:
    by_name = {name.replace("_", "-"): found for name, found in runs.items()}
    seconds = {name: found.walls_s for name, found in by_name.items()}
    return Outcome(seconds=seconds, runs=by_name, left=dict.fromkeys(by_name, "nothing"), rounds=2, engine="")


def _runs(*walls_s: float, failures: Sequence[str] = ()) -> Runs:
    return Runs([Sample(wall_s, 0) for wall_s in walls_s], list(failures))


# -- the command line


def test_without_names_all_run() -> None:
    assert parse_options([]).names == list(BENCHMARKS)


def test_several_names_run_in_their_order_each_once() -> None:
    assert parse_options(["w5", "W1", "fresh", "w5"]).names == ["w5", "w1", "fresh"]


def test_unknown_name_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["w1", "w7"])
    assert f"unknown benchmark 'w7'; there are {', '.join(BENCHMARKS)}" in capsys.readouterr().err


def test_rounds_must_be_positive(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--rounds", "0"])
    assert "--rounds must be at least 1" in capsys.readouterr().err


# -- the estimate


def test_estimate_counts_the_round_that_fills_caches() -> None:
    more_s = estimate_s("w3", 4) - estimate_s("w3", 3)
    assert estimate_s("w3", 3) > 4 * more_s
    assert more_s == BENCHMARKS["w3"].round_s


def test_estimate_is_said_as_one_in_all_and_for_each() -> None:
    text = describe_estimate(parse_options(["w1", "latency", "--rounds", "1"]))
    assert text.splitlines() == [
        "This will take about 3 minutes. That is an estimate, for a quiet machine with 2 processors; "
        "the first time, environments and images take some minutes more.",
        "  w1: 1 round, about 2 minutes",
        "  latency: 1 round, about 1 minute",
    ]


# -- failures


def test_failed_runs_of_a_peer_are_counted_and_the_others_go_on(tmp_path: Path) -> None:
    fails_in_first_counted_round = (
        f"p = __import__('pathlib').Path({str(tmp_path / 'runs')!r}); n = len(p.read_text()) if p.exists() else 0\n"
        "p.write_text('x' * (n + 1))\n"
        "assert n != 1"
    )
    peer = _contender("peer", fails_in_first_counted_round, may_fail=True)
    runs = measure_in_turn([peer, _contender("other", "pass")], 2, _load())
    assert runs["peer"].describe_failures() == "1 of 2"
    assert len(runs["peer"].samples) == 1
    assert runs["other"].describe_failures() == "none"
    assert len(runs["other"].samples) == 2


def test_failure_of_what_must_work_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match=r"ours ended with code 1:\n(.*\n)*.*no reason"):
        measure_in_turn([_contender("ours", "raise SystemExit('no reason')")], 1, _load())


def test_hanging_run_of_a_peer_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.measuring.TIMEOUT_S", 0.2)
    runs = measure_in_turn([_contender("peer", "import time; time.sleep(60)", may_fail=True)], 1, _load())
    assert runs["peer"].failures == ["was not done after 0.2 s"]


def test_reason_is_the_first_error_that_pytest_shows() -> None:
    text = "ended with code 1:\n    raise\nE   ConnectionError: SFATAL\0Mstill starting\nE   AssertionError\n"
    assert find_reason(text) == "ConnectionError: SFATAL Mstill starting"


def test_reason_without_an_error_of_pytest_is_how_it_ended() -> None:
    assert find_reason("ended with code 4:\nno such option") == "ended with code 4"


def test_fastest_peer_may_have_failed_and_this_is_said() -> None:
    outcome = _outcome(
        ours=_runs(1, 1),
        testcontainers=_runs(3, 3),
        pytest_docker_tools=_runs(2, failures=["starting up"]),
        pytest_docker=_runs(failures=["no", "no"]),
    )
    assert outcome.fastest_peer() == "pytest-docker-tools"
    assert (
        outcome.describe_speed("ours", "pytest-docker-tools")
        == "2.00 times as fast as pytest-docker-tools (failed 1 of 2 times)"
    )
    assert outcome.describe_speed("ours", "testcontainers") == "3.00 times as fast as testcontainers"
    assert outcome.describe_speed("ours", "pytest-docker") == "cannot be compared to pytest-docker, which always failed"


def test_without_a_peer_that_succeeded_none_is_the_fastest() -> None:
    assert _outcome(ours=_runs(1), testcontainers=_runs(failures=["no"])).fastest_peer() is None


def test_spread_of_one_value_is_that_value() -> None:
    one = spread([2.0])
    assert (one.low, one.middle, one.high) == (2.0, 2.0, 2.0)


# -- the load


def test_quiet_machine_is_said_to_be_quiet() -> None:
    assert describe_load([1, 10, 2]) == (
        "The machine was quiet: before each round, others used at most 10 % of its processors."
    )


def test_busy_rounds_are_counted() -> None:
    assert describe_load([1, 48.6, 30]) == (
        "**The machine was not quiet**: before 2 of 3 rounds, others used more than 10 %, at most 49 % of its "
        "processors. Measure again before you rely on these numbers."
    )


def test_load_that_goes_away_is_waited_for() -> None:
    windows = iter([60.0, 40.0, 3.0, 99.0])
    assert LoadMeter(lambda: next(windows)).sample() == 3.0


def test_load_that_stays_is_the_least_of_what_was_seen() -> None:
    windows = iter([60.0, 40.0, 50.0, 45.0, 70.0])
    assert LoadMeter(lambda: next(windows)).sample() == 40.0
