"""Answers of the first process, and of control groups, as values."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pytest_isolate.engine.api import ContainerState, ContainerUsage, LogLine
from pytest_isolate.engine.kubernetes.first_control import (
    counted,
    offset_of,
    parse_usage,
    read_state,
    signal_number,
)
from pytest_isolate.engine.kubernetes.pods import parse_line, read_moment, state_of_program

LINE = "ok state=ended starts=2 code=137 signal=9 oom=1 started=100.5 ended=103.25 now=110.000000001\n"


def test_a_state_is_read() -> None:
    found = read_state(LINE)
    assert (found.state, found.starts, found.exit_code, found.is_out_of_memory) == ("ended", 2, 137, True)
    assert (found.started_at, found.ended_at, found.is_running) == (100.5, 103.25, False)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("created", ContainerState(is_running=False, started_at=100.5)),
        ("running", ContainerState(is_running=True, started_at=100.5)),
        ("paused", ContainerState(is_running=True, is_paused=True, started_at=100.5)),
        (
            "ended",
            ContainerState(is_running=False, exit_code=137, is_out_of_memory=True, started_at=100.5, ended_at=103.25),
        ),
    ],
)
def test_a_state_is_that_of_a_container(state: str, expected: ContainerState) -> None:
    assert state_of_program(read_state(LINE.replace("ended", state, 1)), 0) == expected


def test_moments_are_those_of_this_hosts_clock() -> None:
    found = state_of_program(read_state(LINE), 50.0)
    assert (found.started_at, found.ended_at) == (50.5, 53.25)
    assert state_of_program(replace(read_state(LINE), started_at=0.0, ended_at=0.0), 50.0).started_at == 0


@pytest.mark.parametrize(
    ("before", "after", "offset"),
    [(109.9, 110.1, 0.0), (109.0, 111.0, 0.0), (59.9, 60.1, 50.0), (169.9, 170.1, -60.0), (105.0, 115.4, 0.0)],
)
def test_a_clock_that_is_ahead_is_found_where_that_is_certain(before: float, after: float, offset: float) -> None:
    assert offset_of(read_state(LINE), before, after) == pytest.approx(offset)


@pytest.mark.parametrize(
    ("name", "number"),
    [("", 15), ("SIGTERM", 15), ("INT", 2), ("sigquit", 3), ("9", 9), ("SIGRTMIN+3", 37), ("SIGWINCH", 28), ("X", 15)],
)
def test_signals_have_linux_numbers(name: str, number: int) -> None:
    assert signal_number(name) == number


def test_a_text_has_its_length_before_it() -> None:
    assert (counted(b"\0x\n"), counted(b"")) == (b"3\n\0x\n", b"0\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "5000\nanon 1\ninactive_file 1000\nactive_file 7\nusage_usec 2500000\nuser_usec 1\n",
            ContainerUsage(memory_bytes=4000, cpu_s=2.5),
        ),
        (
            "5000\ncache 1\ninactive_file 900\ntotal_inactive_file 1000\n3000000000\n",
            ContainerUsage(memory_bytes=4000, cpu_s=3.0),
        ),
        ("5000\nanon 1\nusage_usec 10\n", ContainerUsage(memory_bytes=5000, cpu_s=1e-5)),
        ("", None),
        ("anon 1\n", None),
        ("5000\n", None),
    ],
)
def test_usage_is_read_of_both_kinds_of_control_groups(text: str, expected: ContainerUsage | None) -> None:
    assert parse_usage(text) == expected


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-30T18:00:00Z", 1796061600.0),
        ("2026-11-30T18:00:00.5Z", 1796061600.5),
        ("2026-11-30T18:00:00.123456789Z", 1796061600.123456789),
        ("2026-11-30T20:00:00.25+02:00", 1796061600.25),
        ("2026-11-30T12:30:00-05:30", 1796061600.0),
        ("", 0),
    ],
)
def test_moments_are_read(text: str, moment: float) -> None:
    assert read_moment(text) == pytest.approx(moment, abs=1e-6)


def test_lines_of_a_log_are_behind_their_moments() -> None:
    assert parse_line("2026-11-30T18:00:00Z a  b \n") == LogLine(1796061600.0, "a  b ")
    assert parse_line("2026-11-30T18:00:00Z \n") == LogLine(1796061600.0, "")
    assert parse_line("unable to retrieve container logs\n") == LogLine(0, "unable to retrieve container logs")
