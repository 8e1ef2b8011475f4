"""The page of --isolate-report: from records to what belongs together, where it is drawn, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.running.report.assemble import Page, RunFacts, ServiceRun, assemble, fit_logs
from pytest_isolate.running.report.bars import Axis, pack, round_step, seconds
from pytest_isolate.running.report.curves import curve, size, usages_of
from pytest_isolate.running.report.page import render, split_log
from pytest_isolate.running.report.recorder import shorten
from pytest_isolate.running.report.records import (
    BecameReady,
    ContainerLog,
    Journal,
    Launched,
    RanTest,
    Reader,
    Record,
    Removed,
    TimelineSpan,
    UsageSample,
    parse_line,
    write_line,
)

FACTS = RunFacts(title="shop", run_id="1234", engine="Docker 1", began=100, ended=200)


def launched(container: str = "c1", code: str = "web", at: float = 110, **changes: object) -> Launched:
    fields = {"at": at, "container": container, "code": code, "service": "web", "stack": "", "worker": ""}
    rest = {"lives_for": "the whole run", "image": "web:1", "declared_at": "conftest.py:1", "thread": 7}
    return Launched(**{**fields, **rest, **changes})  # type: ignore[arg-type]


def ran(name: str = "t", began: float = 120, ended: float = 130, outcome: str = "passed", **more: object) -> RanTest:
    fields = {"worker": "", "test": name, "began": began, "ended": ended, "outcome": outcome, "codes": ["web"]}
    return RanTest(**{**fields, **more})  # type: ignore[arg-type]


def spent(what: str, began: float, ended: float, thread: int = 7, *, failed: bool = False) -> TimelineSpan:
    return TimelineSpan(worker="", what=what, subject="web", began=began, ended=ended, failed=failed, thread=thread)


def page_of(*records: Record) -> Page:
    return assemble(FACTS, records)


def test_records_are_the_same_when_they_are_read_again() -> None:
    for record in (
        launched(needs=["db"]),
        ran(),
        spent("ready", 1, 2),
        UsageSample(at=1, container="c", memory_bytes=5, cpu_s=0.5),
    ):
        assert parse_line(write_line(record)) == record


def test_reader_reads_each_line_of_all_processes_once(tmp_path: Path) -> None:
    first, second, reader = Journal(tmp_path, "gw0"), Journal(tmp_path, "gw1"), Reader(tmp_path)
    first.write(launched("a"))
    second.write(launched("b"), launched("c"))
    assert [r.container for r in reader.read_new() if isinstance(r, Launched)] == ["a", "b", "c"]
    first.write(launched("d"))
    assert [r.container for r in reader.read_new() if isinstance(r, Launched)] == ["d"]
    assert list(reader.read_new()) == []


def test_line_that_is_still_being_written_is_read_later(tmp_path: Path) -> None:
    journal, reader = Journal(tmp_path, "gw0"), Reader(tmp_path)
    journal.write(launched("a"))
    text = write_line(launched("b")) + "\n"
    with (tmp_path / "gw0.page").open("a") as file:
        file.write(text[:20])
        file.flush()
        assert len(list(reader.read_new())) == 1
        file.write(text[20:])
    assert len(list(reader.read_new())) == 1


def test_service_run_is_put_together_from_what_all_processes_have_told() -> None:
    page = page_of(
        launched(found=True, by="gw1", thread=9),
        launched(by=""),
        *(spent(*part) for part in (("create", 105, 110.5), ("ready", 110.5, 112), ("start", 104, 112.5))),
        spent("ready", 150, 151, thread=8),
        BecameReady(at=112.5, container="c1"),
        BecameReady(at=140, container="c1"),
        Removed(at=180, container="c1"),
    )
    (run,) = page.services
    assert (run.name, run.launched.by, run.ready, run.ended) == ("web", "", 112.5, 180)
    assert [part.what for part in run.parts] == ["create", "ready"]
    assert run.began == 105


def test_thread_number_that_is_used_again_does_not_mix_two_starts() -> None:
    first = [spent("create", 105, 110.5), spent("ready", 110.5, 112), spent("start", 105, 112)]
    second = [spent("create", 140, 141), spent("ready", 141, 142), spent("start", 140, 142)]
    page = page_of(
        launched("c1", at=110), launched("c2", at=140.5), *first, *second,
        BecameReady(at=112, container="c1"), BecameReady(at=142, container="c2"),
    )  # fmt: skip
    assert [[part.began for part in run.parts] for run in page.services] == [[105, 110.5], [140, 141]]


def test_test_is_linked_to_what_was_there_while_it_ran() -> None:
    page = page_of(
        launched("c1", at=110), Removed(at=119, container="c1"), launched("c2", at=119.5), launched("c3", code="other"),
        launched("c4", at=131), ran(began=120, ended=130),
    )  # fmt: skip
    (test,) = page.tests
    assert [page.services[n - 1].launched.container for n in test.services] == ["c2"]


def logged(*lines: tuple[float, str], failed: tuple[RanTest, ...] = ()) -> tuple[Page, ServiceRun]:
    page = page_of(launched(), ContainerLog(at=200, container="c1", lines=lines), *failed)
    return page, page.services[0]


def test_log_is_split_at_failed_tests() -> None:
    failed = (ran("a", 120, 130, "failed"), ran("b", 125, 140, "failed"), ran("c", 150, 160, "failed"))
    page, run = logged((111, "x"), (120, "on"), (126, "both"), (135, "b"), (140, "off"), (170, "y"), failed=failed)
    pieces = split_log(run, page.failed, 100)
    told = [([t.record.test for t in p.during], p.text.split()[1::2]) for p in pieces]
    assert told == [
        ([], ["x"]),
        (["a"], ["on"]),
        (["a", "b"], ["both"]),
        (["b"], ["b"]),
        ([], ["off"]),
        (["c"], []),
        ([], ["y"]),
    ]
    assert [[t.record.test for t in p.first_of] for p in pieces if p.first_of] == [["a"], ["b"], ["c"]]


def test_every_line_stands_in_exactly_one_piece() -> None:
    failed = tuple(ran(f"t{n}", 110 + n * 3, 118 + n * 5, "failed") for n in range(8))
    lines = tuple((110 + n / 7, f"line-{n}") for n in range(500))
    page, run = logged(*lines, failed=failed)
    text = "".join(p.text for p in split_log(run, page.failed, 100))
    assert [line.split()[1] for line in text.splitlines()] == [text for _, text in lines]


def test_log_that_is_cut_says_so_in_its_place() -> None:
    wrote = shorten([(110 + n, f"line-{n:02}") for n in range(40)], most=80)
    assert [text for _, text in wrote.lines] == ["line-00", "line-01", *(f"line-{n}" for n in range(32, 40))]
    assert (wrote.head, wrote.cut) == (2, 30)
    page = page_of(launched(), ContainerLog(at=200, container="c1", lines=wrote.lines, head=wrote.head, cut=wrote.cut))
    (piece,) = split_log(page.services[0], (), 100)
    assert piece.text.splitlines()[2].strip() == "... 30 lines are left out here ..."


@given(st.lists(st.integers(0, 30)), st.integers(1, 200))
def test_log_is_never_longer_than_allowed_and_no_line_is_lost_uncounted(sizes: list[int], most: int) -> None:
    lines = [(float(n), "x" * length) for n, length in enumerate(sizes)]
    wrote = shorten(iter(lines), most)
    assert len(wrote.lines) + wrote.cut == len(lines)
    assert sum(len(text) + 1 for _, text in wrote.lines) <= most
    assert list(wrote.lines) == lines[: wrote.head] + lines[wrote.head + wrote.cut :]


def test_logs_of_failed_tests_come_first_where_room_is_short() -> None:
    long = [(110.0 + n, "x" * 9) for n in range(50)]
    page = page_of(
        launched("c1"), ContainerLog(at=200, container="c1", lines=long), launched("c2", code="other"),
        ContainerLog(at=200, container="c2", lines=long), ran(outcome="failed"),
    )  # fmt: skip
    used, other = fit_logs(page.services, page.tests, 700)
    assert used.log
    assert other.log
    assert (used.log.cut, other.log.cut) == (0, 30)


def test_runs_share_a_row_where_they_do_not_overlap() -> None:
    records: list[Record] = []
    for n, (began, ended) in enumerate([(110, 120), (115, 130), (120, 140), (141, 150)]):
        records += [launched(f"c{n}", at=began), Removed(at=ended, container=f"c{n}")]
    rows = pack(page_of(*records).services)
    assert [[run.launched.container for run in row] for row in rows] == [["c0", "c2", "c3"], ["c1"]]


def test_axis_has_round_ticks_and_holds_what_is_outside_at_its_edge() -> None:
    axis = Axis(began=100, ended=116)
    assert axis.ticks[:3] == [(0.0, "0 s"), (12.5, "2 s"), (25.0, "4 s")]
    assert (axis.percent(108), axis.percent(10), axis.percent(500)) == (50, 0, 100)
    assert Axis(began=0, ended=0.3).ticks[1][1] == "0.05 s"


@given(st.floats(0.0001, 1e6))
def test_step_is_round_and_not_much_larger_than_asked(least: float) -> None:
    step = round_step(least)
    assert least * 0.998 <= step <= least * 10.01
    assert f"{step:e}"[0] in "125"


def test_usage_adds_up_what_runs_at_the_same_time() -> None:
    took = [
        UsageSample(at=at, container=c, memory_bytes=10, cpu_s=at - 110) for c in ("c1", "c2") for at in (111.0, 150.0)
    ]
    page = page_of(launched("c1"), launched("c2"), *took)
    (usage,) = usages_of(page, Axis(began=100, ended=200))
    assert (usage.memory.most, usage.runs, usage.processor_s) == (20, 2, 80)
    assert usage.processor.most == pytest.approx(2)


def test_processor_time_that_begins_anew_after_a_restart_is_not_negative() -> None:
    took = [UsageSample(at=at, container="c1", memory_bytes=10, cpu_s=cpu) for at, cpu in ((120, 8.0), (130, 1.0))]
    (usage,) = usages_of(page_of(launched("c1"), *took), Axis(began=100, ended=200))
    assert usage.processor.most == pytest.approx(0.8)


def test_curve_without_figures_is_empty() -> None:
    assert curve([0.0, 0.0]).path == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0342, "34 ms"), (0.9999, "1.0 s"), (59.94, "59.9 s"), (119.97, "2 min 0 s"), (125, "2 min 5 s")],
)
def test_times_are_told_for_people(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(512, "512 B"), (4096, "4 kB"), (23_440_000, "23.4 MB"), (2.5e9, "2.5 GB")]
)
def test_sizes_are_told_for_people(value: float, text: str) -> None:
    assert size(value) == text


def test_nothing_that_was_recorded_is_markup() -> None:
    evil = "<script>alert(1)</script>\"'><img src=x>"
    page = page_of(
        launched(service=evil, stack=evil, image=evil, inside=evil, outside=evil, declared_at=evil, lives_for=evil),
        ContainerLog(at=200, container="c1", lines=[(111, evil), (125, evil)]),
        UsageSample(at=120, container="c1", memory_bytes=1, cpu_s=1),
        ran(evil, outcome="failed", text=evil),
    )
    html = render(page)
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "\"'><" not in html


def test_page_of_nothing_is_a_page() -> None:
    html = render(page_of())
    assert "no tests" in html
    assert "No service was started" in html
