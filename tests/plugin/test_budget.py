"""--isolate-max-memory and --isolate-max-containers: each test fails when its option is ignored."""

from __future__ import annotations

import pytest

from plugin.conftest import WEB, Project, errors_of
from pytest_isolate.running.instances import budget

# One that declares no memory counts with 256 MiB.
TWO = f"{WEB}one = service(web)\ntwo = service(web, memory='200m')\ndel web"
USED = "def test_one(one): pass\ndef test_two(two): pass"
TOO_MUCH = {
    "max-memory": ("455m", "456m", "455 MiB and 200 containers"),
    "max-containers": ("1", "2", "* MiB and 1 containers"),
}


def most_at_once(project: Project) -> int:
    """The most containers that were there at the same time, by the order of the engine's calls."""
    there, most = 0, 0
    seen: set[str] = set()
    for entry in project.journal.entries():
        call, args = entry.get("call"), entry.get("args")
        if call == "create_container":
            there += 1
        elif call == "remove_container" and args[0] not in seen:
            seen.add(args[0])
            there -= 1
        most = max(most, there)
    return most


@pytest.mark.parametrize("where", ["option", "ini"])
@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_can_never_fit_ends_the_run_before_it_starts(project: Project, what: str, where: str) -> None:
    project.conftest(TWO)
    project.tests(USED)
    little, enough, found = TOO_MUCH[what]

    def run(value: str) -> pytest.RunResult:
        if where == "ini":
            project.write("pytest.ini", f"[pytest]\nisolate_{what.replace('-', '_')} = {value}\n")
        return project.run(*([f"--isolate-{what}={value}"] if where == "option" else []))

    result = run(little)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: the services that have to run at the same time can never fit into the run's budget",
            f"  found  they need 456 MiB and 2 containers; the budget is {found}",
            "*raise --isolate-max-memory or --isolate-max-containers*",
        ]
    )
    assert project.journal.is_empty
    run(enough).assert_outcomes(passed=2)


def test_module_s_services_have_to_fit_beside_those_of_each_test(project: Project) -> None:
    """Whichever comes first: tests may run in another order, and the module's stays until all have run."""
    project.conftest(f"{WEB}one = service(web, scope='module')\ntwo = service(web, scope='function')\ndel web")
    project.tests(USED)
    result = project.run("--isolate-max-containers=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "they need 512 MiB and 2 containers" in "\n".join(errors_of(result))
    project.run("--isolate-max-containers=2").assert_outcomes(passed=2)


def test_plan_says_what_can_never_fit(project: Project) -> None:
    project.conftest(TWO)
    project.tests(USED)
    assert project.run("--isolate-plan", "--isolate-max-containers=1").ret == pytest.ExitCode.USAGE_ERROR


def test_deselected_tests_need_no_room(project: Project) -> None:
    project.conftest(TWO)
    project.tests(USED)
    project.run("--isolate-max-containers=1", "-k", "one").assert_outcomes(passed=1, deselected=1)


@pytest.mark.parametrize(
    ("option", "wrong", "valid"),
    [
        ("--isolate-max-containers=0", "'0' is not a number of containers", "a whole number from 1"),
        ("--isolate-max-containers=many", "'many' is not a number of containers", "a whole number from 1"),
        ("--isolate-max-memory=much", "'much' is not a size", "256m"),
        ("--isolate-reuse-idle=soon", "'soon' is not a duration", ""),
    ],
)
def test_value_that_is_none_is_refused(project: Project, option: str, wrong: str, valid: str) -> None:
    project.conftest(TWO)
    project.tests(USED)
    result = project.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = "\n".join(errors_of(result))
    assert f"{option}: {wrong}" in text
    assert valid in text
    assert project.journal.is_empty


# The engine is slow to remove, so that the next start has to wait for it: longer than what the run says nothing of.
SLOW = """
import time

def slowly(engine, call):
    if call == "remove_container":
        time.sleep(0.7)

def pytest_isolate_engine(config):
    return open_fake(on_call=slowly)
"""
NARROW = f"{WEB}one = service(web, scope='function', memory='100m')\ndel web"


@pytest.mark.parametrize("option", ["--isolate-max-containers=1", "--isolate-max-memory=150m"])
def test_starts_wait_for_room_and_the_run_says_so(project: Project, option: str) -> None:
    project.conftest(NARROW, engine=SLOW)
    project.tests("def test_a(one): pass\ndef test_b(one): pass\ndef test_c(one): pass")
    result = project.run(option)
    result.assert_outcomes(passed=3)
    assert most_at_once(project) == 1
    result.stdout.re_match_lines([r"isolate: .*starts waited [\d.]+ s for room \(--isolate-max-memory, .*"])
    assert len(project.journal.services) == 3


def test_run_with_enough_room_says_nothing_of_it(project: Project) -> None:
    project.conftest(NARROW, engine=SLOW)
    project.tests("def test_a(one): pass\ndef test_b(one): pass")
    result = project.run()
    result.assert_outcomes(passed=2)
    assert "for room" not in result.stdout.str()


def test_each_test_s_own_waits_beside_what_lives_for_the_run(project: Project) -> None:
    project.conftest(f"{WEB}own = service(web, scope='function')")
    project.tests("@pytest.mark.parametrize('n', range(4))\ndef test_it(web, own, n): pass")
    project.run("--isolate-max-containers=2").assert_outcomes(passed=4)
    assert sorted(project.journal.services) == ["own", "own", "own", "own", "web"]
    assert most_at_once(project) == 2


def test_room_is_given_back_when_a_module_has_ended(project: Project) -> None:
    project.conftest(f"{WEB}one = service(web, scope='module')\ndel web")
    for name in "abc":
        project.tests("def test_it(one): pass", name=f"test_{name}.py")
    project.run("--isolate-max-containers=1").assert_outcomes(passed=3)
    assert most_at_once(project) == 1


def test_room_of_a_failed_start_is_given_back(project: Project) -> None:
    project.conftest(f"{WEB}bad = service(IMAGE, command=program('exit 3'), scope='function')\none = service(web)")
    project.tests("def test_a(bad): pass\ndef test_b(bad): pass\ndef test_c(one): pass")
    project.run("--isolate-max-containers=2").assert_outcomes(errors=2, passed=1)


# The first test is over while `slow` is still pulled for it.
OVER_EARLY = """
from pathlib import Path
from waiting import wait_for

def pytest_runtest_logfinish():
    Path("over").touch()

def slowly(engine, call):
    if call == "pull_image":
        wait_for(Path("over").exists)

def pytest_isolate_engine(config):
    return open_fake(on_call=slowly)
"""


def test_what_comes_up_after_its_test_takes_no_room_from_the_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_DEADLINE_S", 3)
    project.conftest(
        f"{WEB}quick = service(web, scope='function')\nslow = service(quick, image=PULLABLE)\ndel web",
        engine=OVER_EARLY,
    )
    project.tests(
        "@pytest.fixture\ndef broken(quick): raise ValueError",
        "def test_a(broken, slow): pass\ndef test_b(quick, slow): pass",
    )
    project.run("--isolate-max-containers=2").assert_outcomes(errors=1, passed=1)
    assert most_at_once(project) <= 2


# -- workers ----------------------------------------------------------------------------------------------------------

MANY = "@pytest.mark.parametrize('n', range(4))\ndef test_it(one, n): {body}"


def test_workers_queue_for_one_budget(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(NARROW)
    project.tests(MANY.format(body="pass"))
    project.run_xdist("--isolate-max-containers=1").assert_outcomes(passed=4)
    assert most_at_once(project) == 1


def test_what_each_worker_has_for_itself_counts_for_each(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(f"{WEB}one = service(web, share='worker')\ndel web")
    project.tests(MANY.format(body="pass"))
    result = project.run_xdist("--isolate-max-containers=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "they need 512 MiB and 2 containers" in result.stdout.str()
    assert project.journal.requests == []
    project.run_xdist("--isolate-max-containers=2").assert_outcomes(passed=4)


def test_room_of_a_worker_that_has_died_is_given_back(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(NARROW)
    project.tests("import os", MANY.format(body="n or os._exit(3)"))
    project.run_xdist("--isolate-max-containers=1").assert_outcomes(passed=3, failed=1)


HOLD_AND_WAIT = """
import pytest_isolate.running.instances.budget as budget
budget._DEADLINE_S = 5
one = service(IMAGE, command=program("sleep 0.3", "serve 8000"), port=8000, ready=http("/"), scope=SCOPE)
two = service(one, needs=["one"], scope="function")
"""


@pytest.mark.parametrize("scope", ["function", "module"])
def test_workers_do_not_wait_for_one_another_for_ever(project: Project, scope: str) -> None:
    """Each has one of the two that it needs, and there is room for two."""
    pytest.importorskip("xdist")
    project.conftest(HOLD_AND_WAIT.replace("SCOPE", repr(scope)))
    project.tests("@pytest.mark.parametrize('n', range(4))\ndef test_it(two, n): pass")
    result = project.run_xdist("--isolate-max-containers=2")
    result.assert_outcomes(passed=4)
    assert most_at_once(project) <= 2


LATE = f"""{WEB}
one = service(web, memory="300m", scope="module")
late = service(web, memory="200m", share="worker")
del web

import pytest_isolate.running.instances.budget as budget
budget._DEADLINE_S = 5
"""


def test_workers_leave_room_for_what_stays_to_the_end(project: Project) -> None:
    """Without it each would have its module's, and there would be no room for what both then need."""
    pytest.importorskip("xdist")
    project.conftest(LATE)
    for name, other in ("ab", "ba"):
        project.tests(
            f"""
            import time
            from pathlib import Path
            from waiting import wait_for

            def setup_module(): Path("{name}").touch()

            def test_one(one):
                wait_for(Path("{other}").exists)
                time.sleep(0.5)  # the other one asks for room, and is kept waiting: nothing comes of it to wait for

            def test_late(one, late): pass
            """,
            name=f"test_{name}.py",
        )
    project.run_xdist("--dist=loadfile", "--isolate-max-memory=700m").assert_outcomes(passed=4)


def test_options_are_described_in_the_help(project: Project) -> None:
    text = project.run("--help", isolate=False).stdout.str()
    for option in ("--isolate-max-memory=SIZE", "--isolate-max-containers=NUMBER"):
        assert option in text
    for ini in ("isolate_max_memory (string)", "isolate_max_containers (string)"):
        assert ini in text
