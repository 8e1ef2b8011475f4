"""Under pytest-xdist each worker has what its tests need, nothing clashes, and the controller starts nothing."""

from __future__ import annotations

import pytest

from plugin.conftest import WEB, Project

pytest.importorskip("xdist")

TWO = """
import time

@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_it(web, worker_id, n):
    time.sleep(0.2)
    assert web.port
"""


# The fake engine lives in each process, so what workers share is tested with a real one.
OWN = WEB + "\nweb = service(web, share='worker')\n"


def test_each_worker_starts_what_its_tests_need_and_removes_it(project: Project) -> None:
    project.conftest(OWN)
    project.tests(TWO)
    project.run_xdist().assert_outcomes(passed=4)
    labels = [request["labels"] for request in project.journal.requests]
    assert sorted(label["pytest-isolate.worker"] for label in labels) == ["gw0", "gw1"]
    assert len({label["pytest-isolate.run"] for label in labels}) == 1
    assert len({label["pytest-isolate.owner"] for label in labels}) == 1
    assert len({request["name"] for request in project.journal.requests}) == 2
    project.journal.assert_nothing_is_left()


def test_worker_without_a_test_that_needs_a_service_starts_none(project: Project) -> None:
    project.conftest(OWN)
    project.tests("def test_web(web): pass\ndef test_a(): pass\ndef test_b(): pass\ndef test_c(): pass")
    project.run_xdist("--dist=loadfile").assert_outcomes(passed=4)
    assert project.journal.services == ["web"]
    project.journal.assert_nothing_is_left()


def test_ini_isolate_reaches_the_workers(project: Project) -> None:
    project.conftest(WEB)
    project.write("pytest.ini", "[pytest]\nisolate = true\nisolate_subnets = 10.77.0.0/20\n")
    project.tests(TWO)
    project.run_xdist(isolate=False).assert_outcomes(passed=4)
    assert all(args[1].startswith("10.77.") for args in project.journal.calls("create_network"))


def test_plan_under_xdist_runs_nothing(project: Project) -> None:
    project.conftest(WEB)
    project.tests(TWO)
    result = project.run_xdist("--isolate-plan")
    assert "4 passed" not in result.stdout.str()
    result.stdout.fnmatch_lines(["isolate: plan", "  service *", "  web *"])
    assert project.journal.is_empty


def test_failed_start_is_told_with_the_worker(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=program('exit 3'), share='worker')")
    project.tests("def test_it(web): pass")
    result = project.run_xdist()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*service 'web' (debian:bookworm-slim, worker gw*) ended before it was ready*"])
    project.journal.assert_nothing_is_left()


def test_cleanup_that_fails_in_a_worker_is_told_by_the_controller(project: Project) -> None:
    project.conftest(
        """
        import pytest_isolate.plugin.run.shutdown as shutdown
        shutdown._CLEANUP_S = 0.3

        def pytest_isolate_engine(config):
            config.fake = open_fake()
            return config.fake

        web = service(IMAGE, command=forever())
        """,
        engine="",
    )
    project.tests("def test_it(web, request): request.config.fake.go_away()")
    result = project.run_xdist()
    result.assert_outcomes(passed=1)
    assert "could not be removed" in result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
