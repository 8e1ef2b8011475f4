"""Which tests run first with --isolate-ready-first: those that need nothing, then those whose services are ready."""

from __future__ import annotations

import re

import pytest

from plugin.conftest import WEB, Project
from plugin.test_external import serve

READY_FIRST = "--isolate-ready-first"
SLOW = 'slow = service(IMAGE, command=program("sleep 1.5", "serve 8000 x"), port=8000, ready=http("/"))\n'


def order(result: pytest.RunResult) -> list[str]:
    """The tests that ran, as FILE::TEST, one after the other."""
    return re.findall(r"^(\S+::\S+) PASSED", result.stdout.str(), re.MULTILINE)


def write_modules(project: Project) -> None:
    project.tests("def test_one(web): pass\ndef test_two(): pass", name="test_a.py")
    project.tests("def test_three(): pass\ndef test_four(): pass", name="test_b.py")
    project.tests("def test_five(web): pass", name="test_c.py")


AS_COLLECTED = ["test_a.py::test_one", "test_a.py::test_two", "test_b.py::test_three", "test_b.py::test_four"]
REORDERED = ["test_b.py::test_three", "test_b.py::test_four", "test_a.py::test_one", "test_a.py::test_two"]


@pytest.mark.parametrize("way", ["option", "ini", "not asked"])
def test_modules_that_need_nothing_run_first(project: Project, way: str) -> None:
    project.conftest(WEB)
    write_modules(project)
    if way == "ini":
        project.write("pytest.ini", "[pytest]\nisolate_ready_first = true\n")
    result = project.run("-v", *([READY_FIRST] if way == "option" else []))
    result.assert_outcomes(passed=5)
    assert order(result) == [*(AS_COLLECTED if way == "not asked" else REORDERED), "test_c.py::test_five"]


def test_modules_whose_services_are_ready_run_before_those_that_wait(project: Project) -> None:
    project.conftest(WEB, SLOW)
    project.tests("def test_slow(slow): pass", name="test_a.py")
    project.tests("def test_slow_too(slow): pass", name="test_b.py")
    for name in "cdef":
        project.tests("def test_quick(web): pass", name=f"test_{name}.py")
    # Over this one the slow service becomes ready: its modules come next, in their own order.
    project.tests("import time\ndef test_long(web): time.sleep(2.5)", name="test_g.py")
    project.tests("def test_last(web): pass\ndef test_very_last(web): pass", name="test_h.py")
    result = project.run("-v", READY_FIRST)
    quick = [f"test_{name}.py::test_quick" for name in "cdef"]
    late = ["test_h.py::test_last", "test_h.py::test_very_last"]
    assert order(result) == [*quick, "test_g.py::test_long", *late, "test_a.py::test_slow", "test_b.py::test_slow_too"]


def test_what_runs_already_need_not_be_waited_for(project: Project) -> None:
    project.conftest(WEB, SLOW)
    project.tests("def test_slow(slow): pass", name="test_a.py")
    project.tests("def test_used(web): pass", name="test_b.py")
    with serve() as server:
        result = project.run("-v", READY_FIRST, f"--isolate-use=web=http://127.0.0.1:{server.port}")
    assert order(result) == ["test_b.py::test_used", "test_a.py::test_slow"]


def test_a_module_with_a_service_of_its_own_is_started_in_its_turn(project: Project) -> None:
    project.conftest(SLOW, WEB.replace("port=8000", "port=8000, scope='module'"))
    project.tests("def test_slow(slow): pass", name="test_a.py")
    project.tests("def test_own(web): pass\ndef test_own_too(web): pass", name="test_b.py")
    result = project.run("-v", READY_FIRST)
    assert order(result) == ["test_b.py::test_own", "test_b.py::test_own_too", "test_a.py::test_slow"]
    project.journal.assert_nothing_is_left()


def test_variants_stay_together(project: Project) -> None:
    project.conftest(
        """
        web = variants(
            one=service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/")),
            two=service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/")),
        )
        """
    )
    project.tests("def test_web(web): pass\ndef test_nothing(): pass", name="test_a.py")
    project.tests("def test_web(web): pass", name="test_b.py")
    project.tests("def test_nothing(): pass", name="test_c.py")
    plain, ordered = order(project.run("-v")), order(project.run("-v", READY_FIRST))
    assert sorted(plain) == sorted(ordered)
    assert [test for test in ordered if "[" in test] == [test for test in plain if "[" in test]


@pytest.mark.parametrize("mode", ["load", "loadfile"])
def test_under_xdist_each_worker_has_the_same_order(project: Project, mode: str) -> None:
    project.conftest(WEB)
    write_modules(project)
    project.write("pytest.ini", "[pytest]\n")
    project.conftest(
        WEB,
        """
        def pytest_collection_finish(session):
            if hasattr(session.config, "workerinput"):
                names = " ".join(item.name for item in session.items)
                with open("order", "a") as file:
                    file.write(names + "\\n")
        """,
    )
    result = project.run_xdist(READY_FIRST, f"--dist={mode}")
    result.assert_outcomes(passed=5)
    expected = {
        "load": "test_three test_four test_one test_two test_five",
        "loadfile": "test_one test_two test_three test_four test_five",
    }
    assert (project.path / "order").read_text().splitlines() == [expected[mode]] * 2


RANDOMLY = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    items.reverse()
"""


@pytest.mark.parametrize("asked", [True, False])
def test_an_order_of_chance_is_changed_only_where_that_is_asked_for(project: Project, asked: bool) -> None:
    """The plugin's name is pytest-randomly's; which tests it puts first is known here."""
    project.conftest(
        WEB,
        RANDOMLY,
        "import sys\ndef pytest_configure(config):\n    config.pluginmanager.register(object(), 'randomly')\n",
    )
    write_modules(project)
    project.write("pytest.ini", "[pytest]\nisolate_ready_first = true\n")
    first, *_, last = order(project.run("-v", *([READY_FIRST] if asked else [])))
    assert first == ("test_b.py::test_four" if asked else "test_c.py::test_five")
    assert last == "test_a.py::test_one"


def test_failed_first_counts_more_than_the_configuration(project: Project) -> None:
    project.conftest(WEB)
    project.write("pytest.ini", "[pytest]\nisolate_ready_first = true\n")
    project.tests("import os\ndef test_web(web): assert os.path.exists('fixed')", name="test_b.py")
    project.tests("def test_nothing(): pass", name="test_a.py")

    def run(*args: str) -> pytest.RunResult:
        return project.pytester.runpytest_subprocess("--isolate", "-v", *args, timeout=60)

    run().assert_outcomes(passed=1, failed=1)
    (project.path / "fixed").touch()
    assert order(run("--ff"))[0] == "test_b.py::test_web"
    # The test has passed meanwhile, and is a failed one no more.
    (project.path / "fixed").unlink()
    run().assert_outcomes(passed=1, failed=1)
    (project.path / "fixed").touch()
    assert order(run("--ff", READY_FIRST))[0] == "test_a.py::test_nothing"


def test_stepwise_goes_through_the_tests_as_they_were_collected(project: Project) -> None:
    project.conftest(WEB)
    write_modules(project)
    result = project.pytester.runpytest_subprocess("--isolate", "-v", "--sw", READY_FIRST, timeout=60)
    assert order(result) == [*AS_COLLECTED, "test_c.py::test_five"]


def test_with_the_plan_alone_nothing_is_waited_for(project: Project) -> None:
    project.conftest(WEB)
    write_modules(project)
    result = project.run("--isolate-plan", READY_FIRST)
    assert result.ret == pytest.ExitCode.OK
    assert project.journal.is_empty
