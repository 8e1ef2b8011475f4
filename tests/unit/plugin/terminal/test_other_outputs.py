"""The table for GitHub Actions."""

from __future__ import annotations

from types import SimpleNamespace

from pytest_isolate.plugin.terminal.other_outputs import summary_lines


def failed(nodeid: str, **facts: object) -> SimpleNamespace:
    given = {"service": "db", "state": "running", "lines": 3, **facts}
    return SimpleNamespace(nodeid=nodeid, isolate_services=[given])


def test_each_failed_test_has_a_row_for_each_service() -> None:
    stats = {
        "failed": [failed("t.py::test_a", log="/out/db.log"), SimpleNamespace(nodeid="t.py::test_b")],
        "error": [failed("t.py::test_c[a|b]\n<x>")],
        "passed": [failed("t.py::test_d")],
    }
    assert summary_lines(stats)[4:] == [
        "| t.py::test_a | db | running | 3 | /out/db.log |",
        "| t.py::test_c[a&#124;b] &lt;x> | db | running | 3 |  |",
        "",
    ]


def test_without_one_there_is_no_table() -> None:
    assert summary_lines({"failed": [SimpleNamespace(nodeid="t.py::test_b")], "": [failed("t.py::test_a")]}) == []
