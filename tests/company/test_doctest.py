"""Doctests ask by getfixture()."""

from company.conftest import Project


def test_doctests_use_services(project: Project) -> None:
    project.run("--doctest-modules", "--doctest-glob=*.txt").assert_outcomes(passed=3)
    assert project.starts() == 1
    project.journal.assert_nothing_is_left()


def test_doctests_are_skipped_without_services(project: Project) -> None:
    project.run("--doctest-modules", "--doctest-glob=*.txt", isolate=False).assert_outcomes(skipped=2, passed=1)
    assert project.journal.is_empty
