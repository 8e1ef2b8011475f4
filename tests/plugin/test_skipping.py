"""Without --isolate: nothing is started, nothing heavy is imported, and one line says how to run what was skipped."""

from __future__ import annotations

import pytest

from plugin.conftest import WEB, Project

LINE = "isolate: skipped 1 test that needs services; to run it: pytest --isolate"


def test_test_that_needs_a_service_is_skipped_with_one_line(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(web): raise AssertionError\ndef test_none(): pass")
    result = project.run(isolate=False)
    result.assert_outcomes(passed=1, skipped=1)
    assert LINE in result.outlines
    assert project.journal.is_empty


def test_several_skipped_tests_are_counted(project: Project) -> None:
    project.conftest(
        WEB,
        """
        @pytest.fixture
        def client(web): return web
        hr = stack(web=web)
        """,
    )
    project.tests("def test_a(web): pass\ndef test_b(client): pass\ndef test_c(hr): pass")
    result = project.run(isolate=False)
    result.assert_outcomes(skipped=3)
    assert "isolate: skipped 3 tests that need services; to run them: pytest --isolate" in result.outlines


def test_reason_is_shown_for_each_skip(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(web): pass")
    result = project.run("-rs", isolate=False)
    result.stdout.fnmatch_lines(["SKIPPED*needs services in containers: run pytest --isolate"])


def test_nothing_is_said_where_no_test_needs_a_service(project: Project) -> None:
    project.tests("def test_none(): pass")
    result = project.run(isolate=False)
    assert not any("isolate" in line for line in result.outlines if not line.startswith(("plugins:", "rootdir:")))


def test_service_asked_for_in_the_middle_of_a_test_skips_it(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(request): request.getfixturevalue('web'); raise AssertionError")
    result = project.run(isolate=False)
    result.assert_outcomes(skipped=1)
    assert LINE in result.outlines


def test_other_skips_are_not_counted(project: Project) -> None:
    project.tests("def test_other(): pytest.skip('not today')")
    result = project.run(isolate=False)
    result.assert_outcomes(skipped=1)
    assert not any(line.startswith("isolate:") for line in result.outlines)


def test_wrong_declarations_do_not_disturb_a_run_that_starts_nothing(project: Project) -> None:
    project.conftest("web = service(port=99999)")
    project.tests("def test_web(web): pass\ndef test_none(): pass")
    project.run(isolate=False).assert_outcomes(passed=1, skipped=1)


def test_line_is_written_once_under_xdist(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(WEB)
    project.tests("def test_web(web): pass\ndef test_none(): pass")
    result = project.run_xdist(isolate=False)
    result.assert_outcomes(passed=1, skipped=1)
    assert result.outlines.count(LINE) == 1


HEAVY = (
    "docker",
    "testcontainers",
    "rich",
    "psutil",
    "filelock",
    "requests",
    "pytest_isolate.planning",
)


@pytest.mark.parametrize("declares", [True, False])
def test_nothing_heavy_is_imported(project: Project, declares: bool) -> None:
    """Declarations cost a few modules of ours; other people's are imported where containers are."""
    names = (
        HEAVY
        if declares
        else (*HEAVY, "pytest_isolate.model", "pytest_isolate.running", "pytest_isolate.plugin.declaring.toml")
    )
    project.write(
        "conftest.py",
        f"""
        import sys
        {"from pytest_isolate import postgres, service; db = service(postgres('16'))" if declares else ""}

        def pytest_sessionfinish():
            print("heavy:", sorted(n for n in {names!r} if n in sys.modules))
        """,
    )
    project.write("test_it.py", "def test_db(db): pass" if declares else "def test_none(): pass")
    result = project.run_subprocess("-p", "no:xdist", isolate=False)
    assert result.ret == 0
    assert "heavy: []" in result.stdout.str()


def test_plugin_can_be_switched_off(project: Project) -> None:
    project.write("conftest.py", "")
    project.write("test_it.py", "def test_none(): pass")
    result = project.run_subprocess("-p", "no:isolate", isolate=False)
    result.assert_outcomes(passed=1)
    refused = project.run_subprocess("-p", "no:isolate")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR


def test_switched_off_plugin_leaves_its_fixtures_skipped(project: Project) -> None:
    project.write("conftest.py", "from pytest_isolate import service\nweb = service('any:1')")
    project.write("test_it.py", "def test_web(web): raise AssertionError")
    project.run_subprocess("-p", "no:isolate", isolate=False).assert_outcomes(skipped=1)


def test_the_plugins_own_modules_are_imported_as_they_were_installed(project: Project) -> None:
    """pytest rewrites the asserts of plugins: a hundred modules in each run that finds no result of an earlier one."""
    project.conftest(
        """
        import sys
        def pytest_sessionfinish():
            ours = [m for name, m in sys.modules.items() if name.startswith("pytest_isolate.") and m.__spec__]
            rewritten = [m.__name__ for m in ours if "rewrite" in type(m.__spec__.loader).__module__]
            print("modules:", len(ours) > 50, "rewritten:", rewritten)
        """,
        WEB,
    )
    project.tests("def test_it(web): pass")

    result = project.run_subprocess("-s")

    result.stdout.fnmatch_lines("*modules: True rewritten: [[]'pytest_isolate.plugin'[]]")
