"""With anyio's own plugin, on asyncio and on trio."""

import pytest

from company.conftest import Project

pytest.importorskip("anyio")
pytest.importorskip("trio")
COMPANIONS = ("anyio", "asyncio")


def test_async_tests_and_fixtures_use_services(project: Project) -> None:
    project.run().assert_outcomes(passed=6)
    assert project.starts() == 1
    project.journal.assert_nothing_is_left()
