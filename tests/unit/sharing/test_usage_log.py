"""Which tests of other processes use what is shared, and when."""

from __future__ import annotations

from pathlib import Path

from pytest_isolate.sharing.usage_log import LoggedUse, UsageLog, parse_uses


def test_a_use_that_has_not_ended_is_told_to_other_processes_and_not_to_its_own(tmp_path: Path) -> None:
    mine, other = UsageLog(tmp_path, "gw0"), UsageLog(tmp_path, "gw1")
    mine.begin(10, "test_a", ["db"])
    other.begin(11, "test_b", ["db", "web"])
    assert mine.others("db", since=10) == ["test_b"]
    assert other.others("db", since=11) == ["test_a"]
    assert mine.others("mail", since=10) == []
    mine.close()
    other.close()
    other.close()


def test_one_that_had_ended_before_is_not_told(tmp_path: Path) -> None:
    mine, other = UsageLog(tmp_path, "gw0"), UsageLog(tmp_path, "gw1")
    for number in range(3):
        other.begin(10 + number, f"test_{number}", ["db"])
        other.end(10.5 + number)
    assert mine.others("db", since=11.4) == ["test_1", "test_2"]
    other.close()


def test_a_line_that_is_being_written_does_not_count() -> None:
    assert parse_uses(['[1, "test_a", "db"]', "[2]", '[3, "test_b"', "[4]"]) == [
        LoggedUse(test="test_a", codes=("db",), began=1, ended=2)
    ]
    assert parse_uses(["[1]"]) == []
