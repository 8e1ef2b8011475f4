"""With pytest-rerunfailures: a test that is run again keeps what it shares, and gets its own anew."""

import pytest

from company.conftest import Project

pytest.importorskip("pytest_rerunfailures")
COMPANIONS = ("rerunfailures",)


def test_each_attempt_has_what_is_its_own(project: Project) -> None:
    outcomes = project.run("--reruns=3").parseoutcomes()
    assert outcomes == {"passed": 2, "rerun": 2}
    services = project.journal.services
    assert (services.count("web"), services.count("per_test")) == (1, 3)
    project.journal.assert_nothing_is_left()
