"""Limits that an engine takes and does not hold."""

from __future__ import annotations

import pytest

from plugin.conftest import Project

DROPS = """
def pytest_isolate_engine(config):
    engine = open_fake()
    engine.dropped_limits = lambda: {"pids", "memory"}
    return engine
"""
DECLARED = 'web = service(IMAGE, command=program("serve 8000 hello"), port=8000)'


def test_limits_that_do_not_hold_are_told_once(project: Project) -> None:
    project.conftest(DECLARED, engine=DROPS)
    project.tests("def test_it(web): pass\ndef test_again(web): pass")
    result = project.run()
    result.assert_outcomes(passed=2)
    told = [line for line in result.outlines if "limits do not hold" in line]
    assert len(told) == 1
    assert told[0].startswith("isolate: these limits do not hold: memory, pids; Fake ")
    assert "(rootless engines need version 2 of the kernel's control groups)" in told[0]


def test_limits_that_only_workers_have_seen_are_told(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(DECLARED, engine=DROPS)
    project.tests("def test_it(web): pass")
    result = project.pytester.runpytest_subprocess("--isolate", "-n1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["isolate: these limits do not hold: memory, pids; *"])


def test_nothing_is_told_of_limits_that_hold(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests("def test_it(web): pass")
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*limits do not hold*")
