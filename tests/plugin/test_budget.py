"""The run's budget: what never fits ends the run, what does not fit now waits."""

from __future__ import annotations

import pytest

from .conftest import WEB, Project

TWO = WEB + "\nother = service(web, memory='200m')\n"
USES_BOTH = "def test_it(web, other): pass"
NEVER = "the services that have to run at the same time can never fit into the run's budget"


@pytest.mark.parametrize(
    ("option", "value", "found"),
    [
        ("max-containers", "1", "they need 456 MiB and 2 containers; the budget is * MiB and 1 containers"),
        ("max-memory", "300m", "they need 456 MiB and 2 containers; the budget is 300 MiB and 200 containers"),
    ],
)
@pytest.mark.parametrize("is_ini", [False, True])
def test_what_can_never_fit_ends_the_run(project: Project, option: str, value: str, found: str, is_ini: bool) -> None:
    project.conftest(TWO)
    project.tests(USES_BOTH)
    if is_ini:
        project.write("pytest.ini", f"[pytest]\nisolate_{option.replace('-', '_')} = {value}\n")
    result = project.run(*([] if is_ini else [f"--isolate-{option}={value}"]))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {NEVER}", f"  found  {found}"])
    assert project.journal.is_empty


def test_what_fits_exactly_runs(project: Project) -> None:
    project.conftest(TWO)
    project.tests(USES_BOTH)

    project.run("--isolate-max-containers=2", "--isolate-max-memory=456m").assert_outcomes(passed=1)


def test_a_start_waits_until_there_is_room(project: Project) -> None:
    """Each test's own service can start only when the one before it is gone."""
    project.conftest(WEB + "\nown = service(web, scope='function')\n")
    project.tests("@pytest.mark.parametrize('n', range(4))\ndef test_it(web, own, n): pass")

    project.run("--isolate-max-containers=2").assert_outcomes(passed=4)

    assert sorted(project.journal.services) == ["own", "own", "own", "own", "web"]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--isolate-max-memory=lots", "*'lots' is not a size*"),
        ("--isolate-max-containers=0", "*'0' is not a number of containers*"),
        ("--isolate-reuse-idle=soon", "*'soon' is not a duration*"),
    ],
)
def test_a_value_that_is_none_is_refused(project: Project, option: str, text: str) -> None:
    project.conftest(WEB)
    project.tests("def test_it(web): pass")
    result = project.run(option)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([text])
