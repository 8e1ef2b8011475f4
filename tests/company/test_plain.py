"""What pytest itself offers: selections, looking without running, scopes, import modes."""

from __future__ import annotations

import pytest

from company.conftest import Project


def test_last_failed_starts_what_that_one_needs(project: Project) -> None:
    project.run("test_it.py").assert_outcomes(passed=3, failed=1)
    project.journal.path.unlink()
    project.run("--lf").assert_outcomes(failed=1)
    assert project.journal.services == ["web"]


def test_selection_by_name_starts_nothing_for_others(project: Project) -> None:
    project.run("-k", "nothing").assert_outcomes(passed=1, deselected=7)
    assert project.journal.is_empty


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--fixtures", "--fixtures-per-test"])
def test_looking_starts_nothing(project: Project, option: str) -> None:
    result = project.run(option)
    assert result.ret == pytest.ExitCode.OK
    assert project.journal.is_empty


def test_fixtures_says_image_and_ports(project: Project) -> None:
    result = project.run("--fixtures", isolate=False)
    result.stdout.fnmatch_lines(
        [
            "web * -- conftest.py:*",
            "    Service in a container: debian:bookworm-slim, ports 8000, 9000 (declared at *conftest.py:*).",
            "built * -- conftest.py:*",
            "    Service in a container: built from ., port 80 (declared at *conftest.py:*).",
            "both * -- conftest.py:*",
        ]
    )


def test_set_up_is_shown(project: Project) -> None:
    result = project.run("--setup-show", "-k", "test_web")
    result.assert_outcomes(passed=1, deselected=7)
    result.stdout.fnmatch_lines(["SETUP    S web", "*test_web (fixtures used: *web)*"])


def test_without_this_plugin_tests_are_skipped_and_told_why(project: Project) -> None:
    result = project.run("-p", "no:isolate", "-rs", isolate=False, fake=False)
    result.assert_outcomes(passed=1, skipped=7)
    result.stdout.fnmatch_lines(["SKIPPED*pytest-isolate is not loaded*-p no:isolate*"])


def test_package_scope_is_one_for_each_package(project: Project) -> None:
    project.run("inner", "outer").assert_outcomes(passed=4)
    ids = (project.path / "notes.txt").read_text().split()
    assert sorted(map(ids.count, set(ids))) == [2, 2]
    project.journal.assert_nothing_is_left()


def test_importlib_mode_knows_the_same(project: Project) -> None:
    project.run("--import-mode=importlib").assert_outcomes(passed=7, failed=1)
    assert sorted(project.journal.services) == ["per_package", "per_package", "web"]


@pytest.mark.parametrize("wide", [(), ("--wide",)], ids=["narrow", "wide"])
def test_fixture_with_a_dynamic_scope_uses_a_service(project: Project, wide: tuple[str, ...]) -> None:
    project.run("-k", "test_client", *wide).assert_outcomes(passed=1, deselected=7)


def test_service_with_a_dynamic_scope_is_refused_with_what_is_valid(project: Project) -> None:
    (project.path / "test_it.py").write_text(
        "from pytest_isolate import service\n"
        "web = service('x', scope=lambda fixture_name, config: 'module')\n"
        "def test_it(web): ...\n"
    )
    result = project.run("test_it.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*web.scope: *is not a scope", "*valid  function, class, module, package, session"])
