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


ON_DISK = """
from msgspec.structs import replace

from pytest_isolate.engine.api import Capability

def pytest_isolate_engine(config):
    engine = open_fake()
    facts = engine.facts()
    facts = replace(facts, capabilities=facts.capabilities - {Capability.MEMORY_FOLDERS})
    engine.facts = lambda: facts
    return engine
"""
IN_MEMORY = 'db = service(IMAGE, command=program("serve 8000 hello"), port=8000, in_memory="/srv/data")'


def test_data_is_on_disk_where_the_engine_keeps_none_in_memory(project: Project) -> None:
    project.conftest(IN_MEMORY, engine=ON_DISK)
    project.tests("def test_it(db): pass")
    project.run().assert_outcomes(passed=1)
    ((request,),) = project.journal.calls("create_container")
    assert request["memory_folders"] == {}


def test_size_that_the_engine_cannot_hold_is_refused(project: Project) -> None:
    project.conftest(IN_MEMORY, engine=ON_DISK)
    project.tests("def test_it(db): pass")
    result = project.run("--isolate-in-memory=4g")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "keeps no data of services in memory\n  found  --isolate-in-memory asks for 4096 MiB" in text
