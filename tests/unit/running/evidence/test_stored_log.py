"""Files of logs: their names, what is in them, and disks that take none."""

from __future__ import annotations

from pathlib import Path

from pytest_isolate.engine.api import LogLine
from pytest_isolate.running.evidence.stored_log import StoredLog, file_name


def test_file_names_are_safe_short_and_distinct() -> None:
    assert file_name("hr.db") == "hr.db"
    names = [file_name(text) for text in ("a/b.py::t[1]", "a/b.py::t[1", "a-b.py-t-1", "..", "ü", "x" * 300, "x" * 301)]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) < 100
        assert "/" not in name
        assert not name.startswith(".")


def store(folder: Path, *lines: tuple[str, str], is_new: bool = True) -> str:
    log = StoredLog(folder, "test_a", "db", is_new=is_new)
    for phase, text in lines:
        log.write(phase, LogLine(1.25, text))
    return log.close()


def test_lines_stand_under_their_phases_and_are_added_to(tmp_path: Path) -> None:
    path = store(tmp_path, ("setup", "a"), ("call", "b"), ("call", "c"))
    assert path == str(tmp_path / "test_a/db.log")
    assert store(tmp_path, ("teardown", "d"), is_new=False) == path
    words = [line.split()[-1] for line in Path(path).read_text().splitlines()]
    assert words == ["setup", "a", "call", "b", "c", "teardown", "d"]
    store(tmp_path, ("setup", "again"))
    assert len(Path(path).read_text().splitlines()) == 2


def test_without_a_line_there_is_no_file(tmp_path: Path) -> None:
    assert store(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told_and_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("")
    assert store(tmp_path / "kept", ("call", "a"), ("call", "b")).startswith("not stored: ")
