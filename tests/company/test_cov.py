"""With pytest-cov, in one process and in workers: the code under test is measured, ours is not."""

import pytest

from company.conftest import Project

pytest.importorskip("pytest_cov")
COMPANIONS = ("pytest_cov", "xdist")


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_coverage_is_measured(project: Project, workers: tuple[str, ...]) -> None:
    result = project.run("--cov=.", "--cov-report=term-missing", *workers)
    result.assert_outcomes(passed=4)
    result.stdout.re_match_lines([r"shop\.py +\d+ +1 +\d+% +10$"])
    project.journal.assert_nothing_is_left()
