"""Marks on the engine: who is spared by them, and what a later sweep makes of them."""

from __future__ import annotations

import pytest
from fakes.engine import FakeEngine

from pytest_isolate.model.identity import LABEL_KEPT, LABEL_RUN
from pytest_isolate.running.cleanup.remove import kill_all, remove_all
from pytest_isolate.running.ownership.retention import RetentionMark, read_marks, retained_ids, write_mark
from unit.builders import make_run
from unit.running.cleanup.test_sweep import GONE, Bench
from unit.running.cleanup.test_sweep import bench as bench  # noqa: PLC0414  # a fixture
from unit.running.cleanup.test_sweep import make_run as make_owned

RUN = make_run()


def test_a_mark_names_what_stays_and_itself() -> None:
    engine = FakeEngine()
    kept = write_mark(engine, RUN, ["c1", "n1"], 2000.0)

    (name,) = engine.volumes
    assert kept == {"c1", "n1", name}
    assert read_marks(engine) == (RetentionMark(run_id=RUN.run_id, until=2000.0, objects=kept),)
    assert engine.volumes[name].labels.items() >= RUN.labels().items()


def test_marks_add_up_and_are_those_of_one_run() -> None:
    engine = FakeEngine()
    first, second = (write_mark(engine, RUN, [name], 2000.0) for name in ("a", "b"))
    write_mark(engine, make_run(run_id="other"), ["c"], 2000.0)

    assert retained_ids(read_marks(engine), RUN.run_id) == first | second
    assert retained_ids((), RUN.run_id) == frozenset()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"until": "x", "objects": []}', '{"until": 1, "objects": 2}'])
def test_a_mark_that_cannot_be_read_is_none(text: str) -> None:
    engine = FakeEngine()
    engine.create_volume("strange", {LABEL_RUN: "x", LABEL_KEPT: text})

    assert read_marks(engine) == ()


def test_a_dead_run_is_removed_but_for_what_it_has_marked(bench: Bench) -> None:
    run = make_owned(GONE)
    bench.make(run, "kept")
    left = write_mark(bench.engine, run, [o.object_id for o in bench.engine.find_labelled(LABEL_RUN)], 5000.0)
    bench.engine.create_volume("isolate-abcd-other", run.labels())

    assert bench.run() == ["isolate-abcd-other"]
    assert {o.object_id for o in bench.engine.find_labelled(LABEL_RUN)} == left
    assert {j.verdict.reason for j in bench.sweep.judge()} == {
        "kept for a look inside, for 1.1 h more (pytest-isolate remove abcd)"
    }


def test_when_its_time_is_over_it_goes_with_its_mark(bench: Bench) -> None:
    run = make_owned(GONE)
    bench.make(run, "kept")
    write_mark(bench.engine, run, [o.object_id for o in bench.engine.find_labelled(LABEL_RUN)], 5000.0)
    bench.now = 5000.0

    assert len(bench.run()) == 4
    assert bench.names == set()


def test_what_one_run_has_left_goes_when_somebody_says_so(bench: Bench) -> None:
    runs = [make_owned(GONE, run_id) for run_id in ("one", "two")]
    for number, run in enumerate(runs):
        bench.make(run, f"kept{number}")
        mine = [o.object_id for o in bench.engine.find_labelled(LABEL_RUN) if o.labels[LABEL_RUN] == run.run_id]
        write_mark(bench.engine, run, mine, 5000.0)

    removed = bench.sweep.remove(bench.sweep.judge_left("one"))

    assert len(removed) == 4
    assert {o.labels[LABEL_RUN] for o in bench.engine.find_labelled(LABEL_RUN)} == {"two"}
    assert bench.sweep.judge_left("one") == []


def test_clean_up_passes_by_what_is_spared(bench: Bench) -> None:
    run = make_owned(GONE)
    bench.make(run, "kept")
    bench.make(make_owned(GONE), "gone")
    (kept, gone) = bench.engine.containers
    labels = {LABEL_RUN: "abcd"}

    kill_all(bench.engine, labels, {kept})
    assert [bench.engine.inspect_container(name).is_running for name in (kept, gone)] == [True, False]
    volumes = set(bench.engine.volumes)
    remove_all(bench.engine, labels, {kept, *volumes})

    assert list(bench.engine.containers) == [kept]
    assert bench.engine.networks == {}
    assert set(bench.engine.volumes) == volumes
