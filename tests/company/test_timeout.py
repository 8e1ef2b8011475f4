"""With pytest-timeout: a test that waits or hangs ends in time, the others go on, and nothing stays."""

import pytest

from company.conftest import Project

pytest.importorskip("pytest_timeout")
COMPANIONS = ("timeout",)


def test_what_takes_too_long_fails_alone(project: Project) -> None:
    result = project.run("--timeout-method=signal")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*Timeout (>2.0s) from pytest-timeout*", "*Timeout (>1.0s) from pytest-timeout*"])
    project.journal.assert_nothing_is_left()
