"""--isolate-report: the page holds what has happened, and nothing is done for it where it was not asked for."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path

import pytest

from plugin.conftest import WEB, Project, errors_of

SERVICES = """
    db = service(IMAGE, command=program("say db is up", "serve 5432 db"), port=5432, password="very-secret",
                 ready=http("/"))
    web = service(IMAGE, command=program("say <b>web</b> is up", "getenv DB", "serve 8000 web"), port=8000,
                  env={"DB": "{db.password}"}, ready=http("/"))
    hr = stack(db=db, web=web)
"""


def run_page(project: Project, *args: str) -> str:
    """The page of a run."""
    project.run("--isolate-report=out/report.html", *args)
    return read_page(project)


def read_page(project: Project, name: str = "out/report.html") -> str:
    return (project.path / name).read_text(encoding="utf-8")


def part(page: str, name: str) -> str:
    """A section of the page, as text."""
    match = re.search(rf'<section id="{name}".*?(?=<section id=|</main>)', page, re.DOTALL)
    assert match, f"no section {name}"
    return re.sub(r"\s+", " ", unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", match[0])))


def test_page_has_tests_services_addresses_and_logs(project: Project) -> None:
    project.conftest(SERVICES)
    project.tests("def test_web(web): pass\ndef test_hr(hr): pass\ndef test_none(): pass")
    page = run_page(project)
    assert "3 tests: 3 passed" in part(page, "tests")
    tests = part(page, "tests")
    assert re.search(r"test_it.py::test_web passed [\d.]+ s \d+ m?s db , web", tests), tests
    assert re.search(r"test_it.py::test_hr passed [\d.]+ s \d+ m?s hr.db , hr.web", tests), tests
    stacks = part(page, "map")
    assert "Services of no stack" in stacks
    assert "Stack hr" in stacks
    for request in project.journal.requests:
        (binding,) = request["ports"]
        assert f"{request['aliases'][0]}:{binding['inner']}" in stacks
        assert f"127.0.0.1:{binding['host_port']}" in stacks
    logs = part(page, "logs")
    assert logs.count("db is up") == 2
    assert logs.count("<b>web</b> is up") == 2
    assert "<b>web</b> is up" not in page


def test_page_says_why_and_marks_what_services_wrote_meanwhile(project: Project) -> None:
    project.conftest('web = service(IMAGE, command=program("say before", "serve 8000 x"), port=8000, ready=http("/"))')
    project.tests(
        """
        import urllib.request

        def say(web, word):
            urllib.request.urlopen(f"{web.url}/say/{word}", timeout=60).read()

        def test_good(web): say(web, "of-the-good-one")
        def test_bad(web):
            say(web, "of-the-bad-one")
            assert 1 == 2
        """
    )
    page = run_page(project)
    assert "test_it.py::test_bad" in part(page, "failed")
    assert "test_good" not in part(page, "failed")
    assert "assert 1 == 2" in part(page, "failed")
    (window,) = re.findall(r'<section class="window".*?</section>', page, re.DOTALL)
    assert "of-the-bad-one" in window
    assert "of-the-good-one" not in window
    assert "before" not in window
    (link,) = re.findall(r'href="#(log-[^"]+)"', page)
    assert f'id="{link}"' in window


def test_failed_start_has_its_log(project: Project) -> None:
    project.conftest('web = service(IMAGE, command=program("say last words", "exit 3"), port=8000)')
    project.tests("def test_web(web): pass")
    page = run_page(project)
    assert "last words" in part(page, "logs")
    assert "web never ready" in part(page, "timeline")
    assert "Error" in part(page, "failed")
    assert "ended before it was ready" in part(page, "failed")


def test_random_passwords_are_not_on_the_page(project: Project) -> None:
    project.conftest(
        """
        db = service(redis(), image=IMAGE, command=program("getenv PW", "serve 6379 x"), env={"PW": "{self.password}"},
                     ready=http("/"))
        """
    )
    project.tests(
        """
        from pathlib import Path

        def test_db(db):
            Path("password").write_text(db.password)
            assert not f"it is {db.password}"
        """
    )
    page = run_page(project)
    assert len((project.path / "password").read_text()) > 20
    assert (project.path / "password").read_text() not in page
    assert part(page, "logs").count("***") >= 2
    assert "it is ***" in part(page, "failed")


def test_outcomes_are_told(project: Project) -> None:
    project.conftest(WEB)
    project.tests(
        """
        @pytest.fixture
        def broken(): yield; raise RuntimeError("broken")

        def test_passed(web): pass
        def test_failed(): assert 0
        def test_error(broken): pass
        def test_both(broken): assert 0
        def test_skipped(): pytest.skip("why")
        @pytest.mark.xfail(strict=False)
        def test_xfailed(): assert 0
        @pytest.mark.xfail(strict=False)
        def test_xpassed(): pass
        """
    )
    page = run_page(project)
    assert "7 tests: 1 error, 2 failed, 1 passed, 1 skipped, 1 xfailed, 1 xpassed" in part(page, "tests")
    assert "RuntimeError: broken" in part(page, "failed")


def test_wait_for_a_service_is_on_the_timeline(project: Project) -> None:
    project.conftest('web = service(IMAGE, command=program("sleep 0.2", "serve 8000 x"), port=8000, ready=http("/"))')
    project.tests("def test_web(web): pass")
    page = run_page(project)
    assert re.search(r"test_it.py::test_web waited for web: \d+ ms", page)
    assert "waiting for services" in part(page, "timeline")
    for kind in ("part-create", "part-ready", "serving", "passed"):
        assert f'<rect class="{kind}"' in page


def test_service_that_was_asked_for_at_run_time_is_linked(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(request):\n    request.getfixturevalue('web')\n    assert 0")
    assert re.search(r"What its services wrote meanwhile: web ", part(run_page(project), "failed"))


def test_memory_and_processor_are_told(project: Project) -> None:
    project.conftest(WEB)
    project.tests("import time\ndef test_web(web): time.sleep(1.2)")
    page = run_page(project)
    assert re.search(r"web 4 kB \d+ % [\d.]+ s", part(page, "usage"))


def test_page_of_a_run_without_services(project: Project) -> None:
    project.conftest()
    project.tests("def test_none(): pass")
    page = run_page(project)
    assert "No service was started" in part(page, "map")
    assert "1 test: 1 passed" in part(page, "tests")


def test_page_needs_no_network(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(web): pass")
    page = run_page(project)
    assert re.findall(r"""(?:src|href)=["'](?!#|data:,)""", page) == []
    assert "@import" not in page
    assert "url(" not in page


def test_run_tells_where_the_page_is(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(web): pass")
    result = project.run("--isolate-report=report.html")
    result.stdout.fnmatch_lines([f"isolate: report of this run: {project.path / 'report.html'}"])


def test_ini_names_a_file_below_the_root_folder(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(web): pass")
    project.write("pytest.ini", "[pytest]\nisolate_report = site/index.html\n")
    project.run().assert_outcomes(passed=1)
    assert "1 passed" in read_page(project, "site/index.html")


def test_folder_is_refused(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(web): pass")
    result = project.run(f"--isolate-report={project.path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is a folder" in "".join(errors_of(result))
    assert project.journal.is_empty


def test_page_that_cannot_be_written_is_told_and_fails_the_run(project: Project) -> None:
    project.conftest(WEB)
    project.tests("from pathlib import Path\ndef test_web(web): Path('out').write_text('in the way')")
    result = project.run("--isolate-report=out/report.html")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["isolate: the page of --isolate-report could not be written*"])
    project.journal.assert_nothing_is_left()


def test_nothing_is_imported_or_measured_without_the_option(project: Project) -> None:
    project.conftest(WEB)
    project.tests(
        """
        import sys

        def test_web(web):
            assert "pytest_isolate.running.containers.launcher" in sys.modules
            assert not [name for name in sys.modules if name.startswith(("jinja2", "pytest_isolate.running.report"))]
        """
    )
    project.run_subprocess().assert_outcomes(passed=1)
    assert project.journal.calls("read_usage") == []
    assert project.journal.calls("read_log_lines") == []


def test_workers_are_told_apart(project: Project) -> None:
    project.conftest(WEB + "\nweb = service(web, share='worker')\n")
    project.tests(
        """
        import time

        @pytest.mark.parametrize("n", [1, 2, 3, 4])
        def test_it(web, n):
            time.sleep(0.2)
            assert n != 3
        """
    )
    project.run_xdist("--isolate-report=out/report.html").assert_outcomes(passed=3, failed=1)
    page = read_page(project)
    timeline = part(page, "timeline")
    assert "Worker gw0" in timeline
    assert "Worker gw1" in timeline
    assert "4 tests: 1 failed, 3 passed" in part(page, "tests")
    assert len(re.findall(r'<details class="service"', page)) == 2
    assert re.search(r"Failed in worker gw[01]", part(page, "failed"))
    project.journal.assert_nothing_is_left()


def test_page_parts_are_in_the_installed_package() -> None:
    folder = Path(sys.modules["pytest_isolate"].__file__ or "").parent / "running" / "report"
    assert {"page.html", "page.css", "page.js"} <= {path.name for path in folder.iterdir()}
