"""With pytest-randomly: in any order each module, class and test has what is its own, and nothing twice."""

import pytest

from company.conftest import Project

pytest.importorskip("pytest_randomly")
COMPANIONS = ("randomly",)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_instances_follow_the_order(project: Project, seed: str) -> None:
    project.run(f"--randomly-seed={seed}").assert_outcomes(passed=18)
    services = project.journal.services
    counts = {name: services.count(name) for name in set(services)}
    assert counts == {"web": 1, "per_module": 2, "per_class": 4, "per_test": 6}
    project.journal.assert_nothing_is_left()
