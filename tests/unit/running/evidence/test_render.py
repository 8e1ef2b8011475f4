"""Lines told apart by phase, cut in the middle, and states in words."""

from __future__ import annotations

import signal

import pytest

from pytest_isolate.engine.api import ContainerState, LogLine
from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.running.evidence.render import (
    MOST_CHARACTERS,
    MOST_LINES,
    Evidence,
    Part,
    clip_phases,
    commands_inside,
    cut_line,
    describe_state,
    render,
    render_uncut,
    section_title,
    split_phases,
)

BEGAN = (("setup", 10.0), ("call", 20.0), ("teardown", 30.0))


def lines(*moments: float) -> list[LogLine]:
    return [LogLine(when, f"at {when:g}") for when in moments]


def evidence(**changes: object) -> Evidence:
    given = {"service": "hr.db", "container": "box", "state": "running", "is_running": True, "parts": (), **changes}
    return Evidence(**given)


def moments(parts: tuple[Part, ...]) -> dict[str, list[float]]:
    return {part.phase: [line.when for line in (*part.first, *part.last)] for part in parts}


def test_a_line_belongs_to_the_phase_that_had_begun() -> None:
    parts = split_phases(lines(9.9, 10, 19.9, 20, 30.1, 99), BEGAN, is_own=False)
    assert moments(parts) == {"setup": [10, 19.9], "call": [20], "teardown": [30.1, 99]}


def test_a_phase_without_lines_is_left_out() -> None:
    assert moments(split_phases(lines(21), BEGAN, is_own=False)) == {"call": [21]}
    assert split_phases([], BEGAN, is_own=True) == ()


def test_of_a_service_of_one_test_the_start_belongs_to_it() -> None:
    assert moments(split_phases(lines(1, 21), BEGAN, is_own=True)) == {"start": [1], "call": [21]}


def test_a_phase_that_was_left_out_takes_no_lines() -> None:
    """Set-up failed: there is no call."""
    assert moments(split_phases(lines(11, 31), (BEGAN[0], BEGAN[2]), is_own=False)) == {"setup": [11], "teardown": [31]}


@pytest.mark.parametrize(
    ("since", "left"),
    [
        (0, BEGAN),
        (12, (("setup", 12), ("call", 20.0), ("teardown", 30.0))),
        (20, (("call", 20.0), ("teardown", 30.0))),
        (31, (("teardown", 31),)),
    ],
)
def test_what_was_told_before_is_clipped(since: float, left: tuple[tuple[str, float], ...]) -> None:
    assert clip_phases(BEGAN, since) == list(left)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (ContainerState(is_running=True, started_at=5), "running"),
        (ContainerState(is_running=True, is_paused=True, started_at=5), "paused"),
        (ContainerState(is_running=True, started_at=12, ended_at=11), "running, restarted at TIME, during this test"),
        (ContainerState(is_running=True, started_at=6, ended_at=5), "running, restarted at TIME, before this test"),
        (ContainerState(is_running=False, exit_code=3, ended_at=12), "exited with code 3 at TIME, during this test"),
        (ContainerState(is_running=False, exit_code=0, ended_at=9), "exited with code 0 at TIME, before this test"),
        (ContainerState(is_running=False, exit_code=143, ended_at=0), "exited with code 143 (SIGTERM)"),
        (ContainerState(is_running=False, exit_code=137), "exited with code 137 (SIGKILL), killed or out of memory"),
        (
            ContainerState(is_running=False, exit_code=137, is_out_of_memory=True),
            "exited with code 137 (SIGKILL), out of memory",
        ),
        (ContainerState(is_running=False, exit_code=1, is_out_of_memory=True), "exited with code 1, out of memory"),
        (ContainerState(is_running=False, exit_code=255), "exited with code 255"),
        (ContainerState(is_running=False), "created, never started"),
    ],
)
def test_a_state_in_words(state: ContainerState, words: str) -> None:
    told = describe_state(state, since=10)
    head, _, tail = words.partition("TIME")
    assert told.startswith(head)
    assert told.endswith(tail)


@pytest.mark.linux
def test_signals_are_named_as_the_kernel_of_containers_has_them() -> None:
    """Not as this host has them, whose numbers are others on macOS and Windows. Here the two are the same."""
    for found in signal.Signals:  # Python 3.10 does not know each number
        if found < 32:
            told = describe_state(state_with(128 + found), since=10)
            assert f"({found.name})" in told or found.name == "SIGIOT", told
    assert "(signal 40)" in describe_state(state_with(168), since=10)
    assert "(" not in describe_state(state_with(128), since=10)
    assert "(" not in describe_state(state_with(255), since=10)


def state_with(code: int) -> ContainerState:
    return ContainerState(is_running=False, exit_code=code)


def test_commands_fit_the_state() -> None:
    docker, podman = DockerCommands(), DockerCommands("podman")
    assert commands_inside(docker, "box", is_running=True) == "docker exec -it box sh; docker logs box"
    assert commands_inside(docker, "box", is_running=False) == "docker cp box:/PATH .; docker logs box"
    assert commands_inside(podman, "box", is_running=True) == "podman exec -it box sh; podman logs box"


@pytest.mark.parametrize(
    ("phases", "others", "title"),
    [
        (["setup"], (), "isolate: hr.db during setup"),
        (["setup", "call", "teardown"], (), "isolate: hr.db during setup, call and teardown"),
        (["call"], ("a",), "isolate: hr.db during call, used by another test at the same time"),
        (["call"], ("a", "b"), "isolate: hr.db during call, used by 2 other tests at the same time"),
    ],
)
def test_a_title_names_service_phases_and_others(phases: list[str], others: tuple[str, ...], title: str) -> None:
    assert section_title(evidence(others=others), phases) == title


def test_a_section_says_whose_lines_there_may_be_and_where_all_are() -> None:
    told = render(
        evidence(
            others=tuple("abcde"),
            before="x ended",
            is_settled=False,
            is_kept=True,
            commands="docker exec -it box sh; docker logs box",
            stored="/out/db.log",
        )
    )
    assert told == [
        "state   running",
        "inside  docker exec -it box sh; docker logs box",
        "others  lines may be of a, b, c and 2 more: they used it at the same time",
        "kept    lines may be of other runs, which use it too",
        "before  x ended",
        "hurry   its last lines may be missing: so many tests have failed that they were not waited for",
        "stored  /out/db.log",
        "log     it wrote nothing",
    ]


def test_what_would_disturb_a_terminal_is_taken_out() -> None:
    line = LogLine(1.25, "\x1b[31mred\x1b[0m\tand\x07 \x00more\r")
    (heading, told) = render(evidence(parts=(Part(phase="call", count=1, first=(line,)),)))[-2:]
    assert heading == "call (1 line)"
    assert told.endswith(".250  red     and more")
    assert render_uncut(line) == told.strip()


@pytest.mark.parametrize("number", [1, MOST_LINES // 2, MOST_LINES // 2 + 1, MOST_LINES])
def test_as_many_lines_as_are_shown_are_all_shown(number: int) -> None:
    (part,) = split_phases(lines(*range(20, 20 + number)), (("call", 20.0),), is_own=False)
    assert part.count == number
    assert [told.split()[-1] for told in render(evidence(parts=(part,)))[2:]] == [str(20 + n) for n in range(number)]


@pytest.mark.parametrize(
    ("stored", "where"),
    [
        ("", "--isolate-artifacts=DIR stores all"),
        ("/out/f.log", "all are in /out/f.log"),
        ("not stored: disk full", "not stored: disk full"),
    ],
)
def test_of_more_lines_the_first_and_the_last_are_shown_and_kept(stored: str, where: str) -> None:
    (part,) = split_phases((LogLine(20 + n, f"{n}") for n in range(100_000)), (("call", 20.0),), is_own=False)
    assert len(part.first) + len(part.last) == MOST_LINES
    told = render(evidence(parts=(part,), stored=stored))[-MOST_LINES - 2 :]
    assert told[0] == "call (100000 lines)"
    assert told[1].endswith("  0")
    assert told[MOST_LINES // 2 + 1] == f"  ... {100_000 - MOST_LINES} lines left out; {where} ..."
    assert told[-1].endswith("  99999")


def test_all_lines_are_written_with_their_phases() -> None:
    written: list[tuple[str, float]] = []
    split_phases(
        lines(1, 11, 21, 22), BEGAN, is_own=False, write=lambda phase, line: written.append((phase, line.when))
    )
    assert written == [("setup", 11), ("call", 21), ("call", 22)]


def test_a_long_line_is_cut_in_the_middle() -> None:
    assert cut_line("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
    assert cut_line("abcdefgh", 4) == "ab ... 4 characters left out ... gh"
    assert len(render_uncut(LogLine(1, "y" * 5000))) > 5000
