"""The table at the end of a run, and its hint."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_isolate.model.service import MIB
from pytest_isolate.plugin.run.advice import REUSE, SNAPSHOT
from pytest_isolate.plugin.terminal.summary import Row, build_rows, find_hint, table_lines


def usage(service: str = "db", **values: Any) -> dict[str, Any]:
    known = {"limit": 256 * MIB, "is_built": False, "peak": 41 * MIB, "needed": 30 * MIB, "processor": 0.5}
    return {"service": service, "advice": [], **known, **values}


def figures(starts: list[Any] = (), used: dict[str, dict[str, Any]] | None = None, **served: int) -> dict[str, Any]:
    return {"starts": list(starts), "usage": used or {}, "served": served, "engine": ""}


def row(service: str = "db", **values: Any) -> Row:
    return Row(service=service, **{"instances": 1, "ready_s": 1.0, "tests": 20, **values})


def test_a_row_adds_up_the_instances_of_all_processes() -> None:
    one = figures([[1.0, "db", {"ready": 1.0}]], {"c1": usage()}, db=3)
    other = figures([[2.0, "db", {"ready": 1.5}], [0.5, "web", {}]], {"c2": usage(peak=99 * MIB, processor=1.0)}, db=4)

    db, web = build_rows([one, other])

    assert (db.service, db.instances, db.ready_s, db.tests) == ("db", 2, 2.0, 7)
    assert (db.peak_bytes, db.limit_bytes, db.processor_s) == (99 * MIB, 256 * MIB, 1.5)
    assert db.parts == {"ready": 1.5}
    assert (web.service, web.instances, web.tests, web.peak_bytes, web.processor_s) == ("web", 1, 0, None, None)


def test_a_container_that_workers_share_counts_once_as_the_last_one_saw_it() -> None:
    early, late = usage(peak=10 * MIB, processor=0.5), usage(peak=20 * MIB, processor=0.75)
    shared = [figures([[1.0, "db", {}]], {"c1": early}, db=1), figures([], {"c1": late}, db=1)]

    for everywhere in (shared, shared[::-1]):
        (db,) = build_rows(everywhere)
        assert (db.instances, db.peak_bytes, db.processor_s, db.tests) == (1, 20 * MIB, 0.75, 2)


def test_what_is_reused_has_a_row_without_a_start() -> None:
    rows = build_rows([figures([], {"c1": usage()}, db=1)])

    assert "reused" in table_lines(rows, "", 0)[2]


def test_the_table_is_aligned_and_starts_with_the_slowest() -> None:
    starts = [[0.5, "hr.auth", {}], [12.0, "hr.db", {}]]
    used = {"c1": usage("hr.auth"), "c2": usage("hr.db", limit=None, processor=12.345)}

    assert table_lines(build_rows([figures(starts, used, **{"hr.db": 120, "hr.auth": 7})]), "isolate: on X", 0) == [
        "isolate: on X",
        "  service  instances  ready in  tests    peak memory  processor",
        "  hr.db            1    12.0 s    120         41 MiB    12.35 s",
        "  hr.auth          1     0.5 s      7  41 of 256 MiB     0.50 s",
    ]


def test_a_long_table_is_cut_unless_all_is_asked_for() -> None:
    rows = [row(f"s{number:02}") for number in range(30)]

    assert len(table_lines(rows, "", 0)) == 13
    assert table_lines(rows, "", 0)[-1] == "  and 20 more, which were ready sooner (-v shows all)"
    assert len(table_lines(rows, "", 1)) == 32


def test_a_usual_run_has_no_hint() -> None:
    assert not find_hint([row(needed_bytes=100 * MIB, limit_bytes=256 * MIB, parts={"ready": 1.0}), row("web")])
    assert not find_hint([])


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        (
            {"needed_bytes": 240 * MIB, "limit_bytes": 256 * MIB, "peak_bytes": 256 * MIB},
            'db came near its limit of memory (240 of 256 MiB): memory="512m" gives it room',
        ),
        (
            {"ready_s": 45.0, "parts": {"image": 41.0}},
            "pulling the image of db took 41 s: where each run has a new engine, cache it there",
        ),
        (
            {"ready_s": 45.0, "parts": {"image": 41.0}, "is_built": True},
            "building the image of db took 41 s: it is not built again as long as the engine keeps it and its context "
            "stays as it is (see .dockerignore)",
        ),
        (
            {"ready_s": 10.0, "parts": {"ready": 9.0}, "advice": (SNAPSHOT, REUSE)},
            "db took 9.0 of 10.0 s until it answered: snapshot=[its folders] saves what it makes of itself, "
            "--isolate-reuse keeps it for the next run",
        ),
        (
            {"ready_s": 10.0, "parts": {"ready": 9.0}, "advice": (REUSE,)},
            "db took 9.0 of 10.0 s until it answered: --isolate-reuse keeps it for the next run",
        ),
        (
            {"ready_s": 3.0, "tests": 1},
            "db took 3.0 s for one test, which is the only one that needs it",
        ),
    ],
)
def test_what_stands_out_is_told_with_what_to_do(values: dict[str, Any], hint: str) -> None:
    assert find_hint([row("web"), row(**values)]) == hint


@pytest.mark.parametrize(
    "values",
    [
        {"needed_bytes": 100 * MIB, "limit_bytes": 256 * MIB, "peak_bytes": 256 * MIB},
        {"needed_bytes": 240 * MIB, "limit_bytes": None},
        {"ready_s": 45.0, "parts": {"image": 9.0}},
        {"ready_s": 4.0, "parts": {"ready": 4.0}, "advice": (REUSE,)},
        {"ready_s": 20.0, "parts": {"ready": 6.0}, "advice": (REUSE,)},
        {"ready_s": 10.0, "parts": {"ready": 9.0}, "advice": ()},
        {"ready_s": 1.0, "tests": 1},
        {"ready_s": 3.0, "tests": 2},
    ],
)
def test_what_is_as_usual_is_not_told(values: dict[str, Any]) -> None:
    assert not find_hint([row("web"), row(**values)])


def test_one_test_only_is_no_news_in_a_run_of_few() -> None:
    assert not find_hint([row(ready_s=3.0, tests=1), row("web", tests=9)])


def test_only_the_most_important_is_told() -> None:
    slow = row(ready_s=10.0, parts={"ready": 9.0}, advice=(REUSE,))
    full = row("web", needed_bytes=250 * MIB, limit_bytes=256 * MIB)

    assert find_hint([slow, full]).startswith("web came near")


def test_what_is_known_of_no_service_has_no_column() -> None:
    assert table_lines([row(), row("web", processor_s=0.5)], "isolate: on X", 0) == [
        "isolate: on X",
        "  service  instances  ready in  tests  processor",
        "  db               1     1.0 s     20          ?",
        "  web              1     1.0 s     20     0.50 s",
    ]
    assert table_lines([row()], "isolate: on X", 0)[1] == "  service  instances  ready in  tests"
