"""With pytest-asyncio: async tests and fixtures use services; what a declaration is given may be async too."""

import pytest

from company.conftest import Project

pytest.importorskip("pytest_asyncio")
COMPANIONS = ("asyncio",)


def test_async_tests_and_fixtures_use_services(project: Project) -> None:
    project.run().assert_outcomes(passed=7)
    project.journal.assert_nothing_is_left()


def test_async_tests_are_skipped_without_services(project: Project) -> None:
    project.run("-k", "not within_a_loop", isolate=False).assert_outcomes(skipped=5, deselected=2)
