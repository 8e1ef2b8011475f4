"""What a run says at its end: one line, and a table where there is something to say."""

from __future__ import annotations

import pytest

from plugin.conftest import WEB, Project

TABLE = "isolate: services on Fake 1.0 (run *), the slowest first"
# The fake engine has no processes of its own, of which a kernel could know what they take.
HEADINGS = "  service  instances  ready in  tests"
TWO = WEB + "db = service(IMAGE, command=forever(), scope='module')"
TESTS = """
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_web(web, n): pass
"""
# What would be long in a test is made short.
SOON = """
from pytest_isolate.plugin.terminal import summary
from pytest_isolate.plugin.terminal import report
summary._LONG_READY_S = report._SLOW_START_S = 0.5
"""


def table(result: pytest.RunResult) -> list[list[str]]:
    """The words of each row."""
    lines = result.outlines
    start = next((n for n, line in enumerate(lines) if line.startswith("  service  ")), None)
    rows = [] if start is None else lines[start + 1 :]
    return [line.split() for line in rows[: next((n for n, line in enumerate(rows) if not line.startswith("  ")), 0)]]


def test_a_run_in_which_nothing_stands_out_has_one_line(project: Project) -> None:
    project.conftest(WEB)
    project.tests(TESTS)
    result = project.run()
    result.stdout.fnmatch_lines(["isolate: 1 service started, *; cleaned up in *"])
    result.stdout.no_fnmatch_line(TABLE)


def test_verbose_runs_have_a_table(project: Project) -> None:
    project.conftest(TWO)
    project.tests(TESTS, "def test_db(db, web): pass")
    project.tests("def test_dynamic(request): request.getfixturevalue('db')", name="test_other.py")
    result = project.run("-v")
    result.stdout.fnmatch_lines(["isolate: 3 services started, *", TABLE, HEADINGS])
    rows = {name: rest for name, *rest in table(result)}
    # Instances, two words of time, tests.
    assert (rows["web"][0], rows["web"][3:]) == ("1", ["5"])
    assert (rows["db"][0], rows["db"][3:]) == ("2", ["2"])


def test_what_stands_out_brings_the_table_and_is_told(project: Project) -> None:
    project.conftest(SOON, "slow = service(IMAGE, command=program('sleep 0.7', 'serve 8000 x'), port=8000)")
    project.tests("def test_it(slow): pass")
    result = project.run()
    result.stdout.fnmatch_lines(
        ["isolate: 1 service started, *", TABLE, HEADINGS, "  slow * 1 *", "isolate: slow took 0.* s until*"]
    )


def test_a_quiet_run_has_one_line_whatever_stands_out(project: Project) -> None:
    project.conftest(SOON, "slow = service(IMAGE, command=program('sleep 0.7', 'serve 8000 x'), port=8000)")
    project.tests("def test_it(slow): pass")
    result = project.run("-q")
    assert len([line for line in result.outlines if line.startswith("isolate: ")]) == 2  # one is the header
    assert not table(result)


def test_services_of_all_workers_are_in_one_table(project: Project) -> None:
    project.conftest(WEB + "web = service(web, share='worker')")
    project.tests("import time\n" + TESTS.replace("pass", "time.sleep(0.3)"))
    result = project.run_xdist("-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["isolate: 2 services started, *", TABLE, HEADINGS])
    (web,) = table(result)
    assert (web[0], web[1], web[4]) == ("web", "2", "4")


def test_what_failed_to_start_is_no_row(project: Project) -> None:
    project.conftest(WEB, "broken = service(IMAGE, command=program('exit 1'))")
    project.tests("def test_it(broken): pass", "def test_web(web): pass")
    result = project.run("-v")
    assert [row[0] for row in table(result)] == ["web"]


def test_a_run_without_services_says_nothing(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_it(): pass")
    result = project.run("-v")
    assert not any(line.startswith("isolate: ") for line in result.outlines)
