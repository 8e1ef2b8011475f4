"""However a run ends, nothing of it is left: Ctrl-C, a failed start, a crashed worker. The fixture `project` checks."""

from __future__ import annotations

import time

import pytest
from fakes.programs import IMAGE

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

DECLARED = """
web = service(IMAGE, command=program("serve 8000"), port=8000, volumes={"data": "/data"})
other = service(IMAGE, command=forever(), needs=["web"])
slow = service(IMAGE, command=forever(), ready=log("never"), timeout=60, volumes={"data": "/data"}, needs=["web"])
hr = stack(web=web, other=other)
"""
SLEEP = """
import time
from pathlib import Path

def test_it(web, other, hr):
    Path("up").touch()
    time.sleep(60)
"""


def test_interrupt_while_a_test_runs(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests(SLEEP)
    run = project.start()
    run.wait_for((project.path / "up").exists)
    began = time.monotonic()
    run.interrupt()
    result = run.result()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert time.monotonic() - began < 50
    assert "KeyboardInterrupt" in result.stdout.str()


def test_interrupt_while_a_service_starts(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests("def test_it(slow, hr): pass")
    run = project.start()
    run.wait_for_containers(2)
    began = time.monotonic()
    run.interrupt()
    assert run.result().ret == pytest.ExitCode.INTERRUPTED
    assert time.monotonic() - began < 50


@pytest.mark.parametrize("flag", ["", "--mount=type=cache,target=/c "])
def test_interrupt_while_an_image_is_built_does_not_wait_for_a_step_that_says_nothing(
    project: Project, flag: str
) -> None:
    text = f"FROM {IMAGE}\nRUN {flag}sleep 301\n"
    project.conftest(
        f"from pytest_isolate import *\nslow = service(build={{'context': '.', 'dockerfile_inline': {text!r}}})"
    )
    project.tests("def test_it(slow): pass")
    run = project.start()
    run.wait_for_output("building first")
    began = time.monotonic()
    run.interrupt()
    assert run.result().ret == pytest.ExitCode.INTERRUPTED
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.2, 0.4])
def test_interrupt_at_any_moment_of_the_start(project: Project, after_s: float) -> None:
    """Between two requests to the engine there is always something that is made but not yet noted down."""
    project.conftest(DECLARED)
    project.tests("def test_it(web, other, hr): import time; time.sleep(60)")
    run = project.start()
    run.wait_for_output("isolate: ")
    time.sleep(after_s)
    run.interrupt()
    assert run.result().ret == pytest.ExitCode.INTERRUPTED


def test_impatient_interrupts_do_not_stop_the_clean_up(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests(SLEEP)
    run = project.start()
    run.wait_for((project.path / "up").exists)
    for _ in range(4):
        run.interrupt()
        time.sleep(0.15)
    assert run.result().ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize("end", ["-x", "--maxfail=1"])
def test_run_that_stops_early_leaves_nothing(project: Project, end: str) -> None:
    project.conftest(DECLARED)
    project.tests("def test_a(web): assert False\ndef test_b(hr): pass")
    result = project.run(end)
    result.assert_outcomes(failed=1)


def test_exit_in_the_middle_leaves_nothing(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests("def test_a(web): pytest.exit('enough', returncode=7)\ndef test_b(hr): pass")
    assert project.run().ret == 7


def test_internal_error_leaves_nothing(project: Project) -> None:
    project.conftest(DECLARED)
    project.write(
        "broken.py",
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            yield
            raise SystemError("broken plugin")
        """,
    )
    project.tests("def test_a(web): pass")
    result = project.run("-p", "broken")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR


# -- workers --------------------------------------------------------------------------------------------------------

WORKERS = """
import os, signal, time
from urllib.request import urlopen

def get(service):
    with urlopen(f"http://{service.address}/env/PYTEST_WORKER", timeout=60) as answer:
        return answer.read()
"""


def test_two_workers_use_one_set_of_services_and_nothing_clashes(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(DECLARED)
    project.tests(
        WORKERS,
        """
        @pytest.mark.parametrize("n", range(6))
        def test_it(web, hr, n):
            time.sleep(0.3)
            get(web), get(hr.web)
            assert web.exec("test", "-e", "/data/mine").exit_code in (0, 1)
        """,
    )
    result = project.run("-n2")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["isolate: 3 services started, *"])


@pytest.mark.parametrize("death", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_crashed_worker_leaves_nothing(project: Project, death: str) -> None:
    pytest.importorskip("xdist")
    project.conftest(DECLARED)
    project.tests(
        WORKERS,
        f"""
        def test_crash(web, hr):
            {death}

        @pytest.mark.parametrize("n", range(3))
        def test_it(web, n):
            get(web)
        """,
    )
    result = project.run("-n2")
    result.assert_outcomes(passed=3, failed=1)
    assert "crashed" in result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_interrupted_workers_leave_nothing(project: Project) -> None:
    """Ctrl-C reaches the controller and, as a terminal sends it to the whole group, its workers."""
    pytest.importorskip("xdist")
    project.conftest(DECLARED)
    project.tests(
        """
        import time
        from pathlib import Path

        @pytest.mark.parametrize("n", range(2))
        def test_it(web, n):
            Path(f"up{n}").touch()
            time.sleep(60)
        """
    )
    run = project.start("-n2")
    run.wait_for(lambda: (project.path / "up0").exists() and (project.path / "up1").exists())
    run.interrupt_group()
    assert run.result().ret == pytest.ExitCode.INTERRUPTED
