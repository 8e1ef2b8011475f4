"""TestCase classes: services by usefixtures, by autouse, and on a loop of unittest's own."""

from company.conftest import Project


def test_test_cases_use_services(project: Project) -> None:
    project.run().assert_outcomes(passed=6)
    services = project.journal.services
    assert (services.count("web"), services.count("per_class")) == (1, 1)
    project.journal.assert_nothing_is_left()


def test_test_cases_are_skipped_without_services(project: Project) -> None:
    project.run(isolate=False).assert_outcomes(skipped=5, passed=1)
