"""The table for GitHub Actions, and names of stored files."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_isolate.plugin.items.failures import Artifacts, file_name
from pytest_isolate.plugin.terminal.other_outputs import summary_lines
from pytest_isolate.running.evidence.render import Evidence


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


def test_file_names_are_safe_short_and_distinct() -> None:
    assert file_name("hr.db") == "hr.db"
    names = [file_name(text) for text in ("a/b.py::t[1]", "a/b.py::t[1", "a-b.py-t-1", "..", "ü", "x" * 300, "x" * 301)]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) < 100
        assert "/" not in name
        assert not name.startswith(".")


def test_a_file_that_cannot_be_written_is_told_and_breaks_nothing(tmp_path: pytest.TempPathFactory) -> None:
    (tmp_path / "kept").write_text("")
    found = Evidence(service="db", container="", state="", is_running=True, parts=("some",))
    assert "not stored: " in Artifacts(tmp_path / "kept").store("test_a", found, is_first=True)
