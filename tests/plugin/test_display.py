"""What is shown while tests wait: on a real pseudo-terminal, and where there is none."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest
from fakes.terminal import Terminal

from plugin.conftest import Project

WITHOUT = [word for name in ("anyio", "hypothesispytest", "cacheprovider") for word in ("-p", f"no:{name}")]
SLOW = """
slow = service(IMAGE, command=program("sleep 2.5", "serve 8000 x"), port=8000, ready=http("/healthz"), share="worker")
quick = service(IMAGE, command=program("serve 8000 x"), port=8000, ready=http("/"))

def pytest_unconfigure():
    import pathlib, sys
    pathlib.Path("imported").write_text(str("rich" in sys.modules))
"""
TESTS = """
def test_first(): pass
def test_slow(slow): print("printed by a test")
def test_last(): pass
"""
WAITING = "isolate waiting for 1 service"
SOON = """
from pytest_isolate.plugin.terminal import waits
waits._TOLD_FROM_S = {-1: 9.0, 0: 1.4, 1: 0.3}
waits._TOLD_EVERY_S = {-1: 9.0, 0: 9.0, 1: 0.3}
"""


@pytest.fixture(params=[80, 200])
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    terminal = Terminal(request.param, 40)
    yield terminal
    terminal.close()


def run(
    terminal: Terminal, *args: str, interrupt_at: str = "", xdist: bool = False, kind: str = "xterm"
) -> list[list[str]]:
    """Every screen of a run."""
    without = [*WITHOUT, *([] if xdist else ["-p", "no:xdist"])]
    argv = [sys.executable, "-m", "pytest", *without, "--isolate", "-W", "error", *args]
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS", "LINES")}
    return terminal.run(argv, {**env, "TERM": kind, "LANG": "C.UTF-8"}, interrupt_at)


def has_imported_rich(project: Project) -> bool:
    return (project.path / "imported").read_text() == "True"


def below(screen: list[str], text: str) -> list[str]:
    """The lines of a screen from the one on that has a text."""
    return screen[next(n for n, line in enumerate(screen) if text in line) :]


def shown(screens: list[list[str]]) -> list[list[str]]:
    """The screens on which we show something, from there on."""
    found = [below(screen, WAITING) for screen in screens if any(WAITING in line for line in screen)]
    assert found, "\n".join(screens[-1])
    return found


def test_a_terminal_shows_what_a_test_waits_for_and_nothing_of_it_is_left(project: Project, terminal: Terminal) -> None:
    project.conftest(SLOW)
    project.tests(TESTS)
    screens = run(terminal)
    for lines in shown(screens):
        assert len(lines) == 2
        assert lines[1].startswith("slow")
        assert lines[1].endswith(" s")
    assert any("asks http /healthz at 127.0.0.1:" in lines[1] for lines in shown(screens))
    seconds = [float(lines[1].split()[-2]) for lines in shown(screens)]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) > 2
    # The line that pytest had begun is above while they show, and goes on afterwards.
    above = [screen for screen in screens if any(WAITING in line for line in screen)]
    assert all(screen[-3] == "test_it.py ." for screen in above)
    assert "test_it.py ..." in "\n".join(screens[-1])
    assert not any("waiting" in line or "healthz" in line for line in screens[-1])
    assert has_imported_rich(project)


@pytest.mark.parametrize("terminal", [80], indirect=True)
@pytest.mark.parametrize(
    ("option", "line"),
    [("-v", "test_it.py::test_slow PASSED"), ("-q", "..."), ("-s", "printed by a test")],
)
def test_pytests_own_lines_are_whole_in_each_of_its_styles(
    project: Project, terminal: Terminal, option: str, line: str
) -> None:
    project.conftest(SLOW)
    project.tests(TESTS)
    screens = run(terminal, option)
    assert any("asks http /healthz" in text for screen in screens for text in screen)
    last = screens[-1]
    assert not any("waiting" in text or "healthz" in text for text in last)
    assert any(text.startswith(line) for text in last), "\n".join(last)
    assert any("3 passed" in text for text in last)


@pytest.mark.parametrize("terminal", [80], indirect=True)
def test_what_workers_wait_for_shows_in_the_controller(project: Project, terminal: Terminal) -> None:
    pytest.importorskip("xdist")
    project.conftest(SLOW)
    # Its dot is to be written while the wait of the other worker is shown: from 0.5 s on, for two seconds.
    project.tests("import time\ndef test_one(slow): pass\ndef test_two(): time.sleep(1)\ndef test_three(): pass")
    screens = run(terminal, "-n2", xdist=True)
    for lines in shown(screens):
        assert lines[1].startswith("slow")
    assert any("asks http /healthz at 127.0.0.1:" in lines[1] for lines in shown(screens))
    assert not any("waiting" in line or "healthz" in line for line in screens[-1])
    assert any(line.startswith("... ") for line in screens[-1]), "\n".join(screens[-1])
    assert any("3 passed" in line for line in screens[-1])


@pytest.mark.parametrize("terminal", [80], indirect=True)
def test_a_build_shows_its_steps(project: Project, terminal: Terminal) -> None:
    project.conftest(
        """
        import time
        from pytest_isolate.engine.docker.wire import build_step

        class Slow(FakeEngine):
            def build_image(self, request, tell):
                for number in (1, 2, 3):
                    tell(build_step(f"Step {number}/3 : RUN true"))
                    time.sleep(1)  # what is over sooner is not shown
                return super().build_image(request, tell)

        def pytest_isolate_engine(config):
            return Slow(open_fake()._journal)

        built = service(build="web", command=forever())
        """,
        engine="",
    )
    project.write("web/Dockerfile", "FROM debian:bookworm-slim\nRUN true\nCMD " + '["bash"]')
    project.tests("def test_built(built): pass")
    lines = [lines[1] for lines in shown(run(terminal))]
    assert any(line.startswith("built   building, step 2 of 3: RUN true") for line in lines), lines


@pytest.mark.parametrize("terminal", [80], indirect=True)
def test_ctrl_c_leaves_nothing_of_it(project: Project, terminal: Terminal) -> None:
    project.conftest(SLOW)
    project.tests(TESTS)
    screens = run(terminal, interrupt_at=WAITING)
    assert any("KeyboardInterrupt" in line for line in screens[-1]), "\n".join(screens[-1])
    assert not any("waiting" in line or "healthz" in line for line in screens[-1])
    project.journal.assert_nothing_is_left()


@pytest.mark.parametrize("terminal", [80], indirect=True)
def test_short_waits_show_nothing_and_import_nothing(project: Project, terminal: Terminal) -> None:
    project.conftest(SLOW)
    project.tests("def test_quick(quick): pass")
    screens = run(terminal)
    assert not any("waiting" in line for screen in screens for line in screen)
    assert not has_imported_rich(project)


@pytest.mark.parametrize("terminal", [80], indirect=True)
def test_a_dumb_terminal_has_no_lines_in_place(project: Project, terminal: Terminal) -> None:
    project.conftest(SLOW)
    project.tests(TESTS)
    screens = run(terminal, kind="dumb")
    assert not has_imported_rich(project)
    assert not any("waiting" in line for screen in screens for line in screen)
    assert any("3 passed" in line for line in screens[-1])


def test_elsewhere_lines_tell_what_lasts_each_on_a_line_of_its_own(project: Project) -> None:
    project.conftest(SOON, SLOW)
    project.tests(TESTS.replace("print(", "assert 0, print("))
    result = project.run_subprocess("-p", "no:xdist")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.re_match_lines([r"isolate: +\d\.\d s  slow: asks http /healthz at 127\.0\.0\.1:\d+: .+$"])
    assert not has_imported_rich(project)
    # pytest shows what it has captured behind a heading.
    captured = below(result.outlines, "Captured stdout call")
    assert not any("healthz" in line for line in captured)


@pytest.mark.parametrize(("option", "least", "most"), [("-q", 0, 0), ("-v", 2, 9), ("--verbosity=0", 1, 1)])
def test_verbosity_says_how_many_lines_there_are(project: Project, option: str, least: int, most: int) -> None:
    project.conftest(SOON, SLOW)
    project.tests(TESTS)
    result = project.run_subprocess("-p", "no:xdist", option)
    result.assert_outcomes(passed=3)
    lines = [line for line in result.outlines if "slow: asks" in line]
    assert least <= len(lines) <= most, lines
    assert all(line.startswith("isolate: ") for line in lines)


def test_what_workers_wait_for_is_told_in_lines_too(project: Project) -> None:
    project.conftest(SOON, SLOW)
    project.tests(TESTS)
    result = project.run_xdist("-v")
    result.assert_outcomes(passed=3)
    lines = [line for line in result.outlines if "slow: asks" in line]
    assert lines
    assert all(line.startswith("isolate: ") for line in lines)
    assert not any("healthz" in line for line in result.errlines)


def test_the_line_that_a_test_began_is_told_again_behind_ours(project: Project) -> None:
    project.conftest(SOON, SLOW)
    project.tests(TESTS)
    result = project.run_subprocess("-p", "no:xdist", "-v")
    result.stdout.re_match_lines([r"isolate: .*slow: asks", r"test_it.py::test_slow PASSED +\[ 66%\]"])


SLOW_BUILD = """
import threading, time

class Slow(FakeEngine):
    def build_image(self, request, tell):
        number = request.context[-1]
        for tenth in range(30):
            tell(Progress(text=f"\\x1b[33mlayer {number}\\r\\x1b[0Kstep {tenth}", unit="steps"))
            time.sleep(0.1)
        return super().build_image(request, tell)

def pytest_isolate_engine(config):
    return Slow(open_fake()._journal)
"""


@pytest.mark.parametrize("by_workers", [False, True])
def test_several_of_one_name_are_told_as_often_as_one(project: Project, by_workers: bool) -> None:
    """In a pipe: alternatives by their names, those of several modules together, without raw bytes of a build."""
    project.conftest(
        SOON,
        "from pytest_isolate.engine.api import Progress",
        SLOW_BUILD,
        "web = service(build='build-1', command=forever())",
        "versions = variants(web={'old': {'build': 'build-2'}, 'new': {'build': 'build-3'}})",
        engine="",
    )
    for number in range(1, 6):
        project.write(f"build-{number}/Dockerfile", "FROM debian:bookworm-slim\nCMD " + '["bash"]')
    project.tests("def test_it(web): pass")
    for number in (4, 5):
        project.tests(
            f"db = service(build='../build-{number}', command=forever())\ndef test_it(db): pass",
            name=f"sub/test_{number}.py",
        )
    result = project.run_xdist() if by_workers else project.run_subprocess("-p", "no:xdist")
    result.assert_outcomes(passed=4)
    lines = [line for line in result.outlines if re.match(r"isolate: +\d+\.\d s  ", line)]
    told: dict[str, list[float]] = {}
    for line in lines:
        told.setdefault(line.split()[3].rstrip(":"), []).append(float(line.split()[1]))
    assert told.keys() == {"web[old]", "web[new]", "db"}
    # Each again only when twice the time has gone by; the times that are shown are rounded, and not those of one clock.
    assert all(later > 1.6 * sooner for times in told.values() for sooner, later in pairwise(times)), lines
    # On a busy machine also what the fake engine itself tells, after the steps that this file makes up.
    assert all(re.search(r": step \d+$|: building, step 2 of 2: CMD ", line) for line in lines), lines
    assert not any(ord(sign) < 32 or ord(sign) == 127 for line in result.outlines for sign in line)
