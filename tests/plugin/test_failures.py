"""What the report of a failed test tells of its services; for one that passes the engine is asked nothing."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from plugin.conftest import Project

SAY = """
from urllib.request import urlopen

def say(web, word):
    urlopen(f"http://{web.address}/say/{word}", timeout=60).read()
"""
SERVING = 'IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), timeout=20'
WEB = f"web = service({SERVING})\n"
USE_SAY = "from conftest import say\nimport time\n"


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each section of services in the output, by title."""
    found: dict[str, list[str]] = {}
    end = r"(?=^[-=_]{3,}|^isolate: |\Z)"
    for title, body in re.findall(rf"^-+ (isolate: [^\n]*?) -+\n(.*?){end}", text, re.MULTILINE | re.DOTALL):
        found.setdefault(title, []).extend(body.splitlines())
    return found


def words(lines: list[str]) -> list[str]:
    """Phases and what was written in them."""
    return [re.sub(r"^  [\d:.]+  | \(.*\)$", "", line) for line in lines if not re.match(r"\w+ {2,}", line)]


def line(lines: list[str], name: str) -> str:
    """What is told under a name."""
    return next((text.removeprefix(name).strip() for text in lines if text.startswith(f"{name}  ")), "")


@pytest.fixture
def web(project: Project) -> Project:
    project.conftest(SAY, WEB)
    return project


def failed_with(project: Project, *args: str, **outcomes: int) -> dict[str, list[str]]:
    """The sections of a run that ends like that."""
    result = project.run(*args)
    result.assert_outcomes(**(outcomes or {"failed": 1}))
    return sections(result.stdout.str())


def test_lines_of_a_failed_test_are_told_by_phase(web: Project) -> None:
    web.tests(
        USE_SAY,
        """
        @pytest.fixture
        def client(web):
            say(web, "setting-up")
            yield
            say(web, "tearing-down")

        def test_before(web): say(web, "not-this")
        def test_it(client, web):
            say(web, "calling")
            assert False
        def test_after(web): say(web, "nor-this")
        """,
    )

    found = failed_with(web, passed=2, failed=1)

    assert list(found) == ["isolate: web during setup and call", "isolate: web during teardown"]
    first, last = found.values()
    assert words(first) == ["setup", "setting-up", "call", "calling"]
    assert words(last) == ["teardown", "tearing-down"]
    assert line(first, "state") == "running"
    name = web.journal.requests[0]["name"]
    assert line(first, "inside") == f"docker exec -it {name} sh; docker logs {name}"


def test_of_tests_that_pass_are_skipped_or_are_expected_to_fail_nothing_is_asked_or_told(web: Project) -> None:
    web.tests(
        USE_SAY,
        """
        def test_pass(web): say(web, "one")
        def test_skip(web): pytest.skip("no")
        @pytest.mark.xfail
        def test_xfail(web): assert False
        """,
    )
    found = failed_with(web, "-rA", "--junitxml=junit.xml", passed=1, skipped=1, xfailed=1)
    assert found == {}
    assert web.journal.calls("read_log_lines") == []
    assert "isolate" not in (web.path / "junit.xml").read_text()


def test_a_failed_test_that_uses_no_service_has_no_section(web: Project) -> None:
    web.tests(USE_SAY, "def test_pass(web): pass\ndef test_it(): assert False")
    assert failed_with(web, passed=1, failed=1) == {}
    assert web.journal.calls("read_log_lines") == []


def test_each_service_that_was_used_is_told_and_no_other(project: Project) -> None:
    project.conftest(
        f"""
        db = service({SERVING})
        app = service({SERVING}, env={{"DB": "{{db.url}}"}})
        direct = service({SERVING})
        late = service({SERVING})
        unused = service({SERVING})

        @pytest.fixture
        def client(app): return app
        """
    )
    project.tests(
        """
        def test_it(client, direct, request):
            request.getfixturevalue("late")
            assert False
        def test_other(unused): pass
        """
    )
    found = failed_with(project, passed=1, failed=1)
    assert sorted(title.split()[1] for title in found) == ["app", "db", "direct", "late"]


def test_a_value_that_was_made_for_an_earlier_test_counts_as_used(web: Project) -> None:
    web.tests(
        USE_SAY,
        """
        def test_first(web): pass
        def test_it(request):
            say(request.getfixturevalue("web"), "mine")
            assert False
        """,
    )
    (lines,) = failed_with(web, passed=1, failed=1).values()
    assert words(lines) == ["call", "mine"]


def test_a_service_of_one_test_is_told_from_its_start(project: Project) -> None:
    project.conftest(SAY, f"web = service({SERVING}, scope='function')".replace('program("', 'program("say up", "'))
    project.tests(
        USE_SAY,
        """
        @pytest.mark.parametrize("n", range(3))
        def test_it(web, n):
            say(web, f"mine-{n}")
            assert n != 1
        """,
    )
    (lines,) = failed_with(project, passed=2, failed=1).values()
    # It may be up before the test begins, or while the test waits for it.
    assert words(lines)[0] in ("start", "setup")
    assert words(lines)[1:] == ["up", "call", "mine-1"]


def test_last_line_before_a_service_was_killed_is_there(web: Project) -> None:
    web.tests(
        USE_SAY,
        """
        def test_it(web):
            say(web, "last")
            web.kill()
            assert False
        """,
    )
    (lines,) = failed_with(web).values()
    assert words(lines)[-2:] == ["call", "last"]
    assert re.fullmatch(
        r"exited with code 137 \(SIGKILL\), killed or out of memory at [\d:.]+, during this test", line(lines, "state")
    )
    name = web.journal.requests[0]["name"]
    assert line(lines, "inside") == f"docker cp {name}:/PATH .; docker logs {name}"


@pytest.mark.parametrize(
    ("step", "state"),
    [("exit 3", "exited with code 3 at "), ("eat", "exited with code 137 (SIGKILL), out of memory at ")],
)
def test_how_a_service_has_ended_is_told(project: Project, step: str, state: str) -> None:
    project.conftest(
        SAY, f"web = service(IMAGE, command=program('say up', 'sleep 0.3', 'say dying', '{step}'), ready=log('up'))"
    )
    project.tests(
        """
        from waiting import wait_for

        def test_it(web):
            engine = web._controls._engine
            wait_for(lambda: not engine.inspect_container(web.container_id).is_running)
            assert False
        """
    )
    (lines,) = failed_with(project).values()
    assert words(lines)[-2:] == ["call", "dying"]
    assert line(lines, "state").startswith(state)


def test_restarts_are_told(project: Project) -> None:
    project.conftest(WEB.replace('program("', 'program("say up", "'))
    project.tests(
        "def test_it(web):\n    web.restart()\n    assert False\n",
        "def test_next(web):\n    web.pause()\n    try: assert False\n    finally: web.unpause()\n",
    )
    (lines,) = failed_with(project, failed=2).values()
    second = lines.index("log     it wrote nothing")
    assert re.fullmatch(r"running, restarted at [\d:.]+, during this test", line(lines, "state"))
    assert re.fullmatch(r"running, restarted at [\d:.]+, before this test", line(lines[second - 3 :], "state"))
    assert words(lines)[-2:] == ["call", "up"]


def test_passwords_are_not_told(project: Project) -> None:
    project.conftest(
        "db = service(postgres(image=IMAGE, command=program('getenv POSTGRES_PASSWORD', 'serve 5432'), ready=http('/'),"
        " snapshot=None, in_memory=None), scope='function')"
    )
    project.tests("def test_it(db): raise AssertionError(len(db.password))")
    (lines,) = failed_with(project, "--isolate-artifacts=kept").values()
    assert words(lines)[1:] == ["***"]
    (stored,) = (project.path / "kept").glob("*/db.log")
    assert stored.read_text().endswith("  ***\n")


def test_a_test_whose_fixture_fails_has_its_section(web: Project) -> None:
    web.tests(
        USE_SAY,
        """
        @pytest.fixture
        def client(web):
            say(web, "before")
            raise ValueError("no client")
        def test_it(client): pass
        """,
    )
    found = failed_with(web, errors=1)
    assert list(found) == ["isolate: web during setup"]
    assert words(found.popitem()[1]) == ["setup", "before"]


def test_a_test_whose_teardown_fails_has_all_of_its_lines(web: Project) -> None:
    web.tests(
        USE_SAY,
        """
        @pytest.fixture
        def client(web):
            yield web
            say(web, "after")
            raise ValueError("not closed")
        def test_it(client): say(client, "calling")
        """,
    )
    found = failed_with(web, passed=1, errors=1)
    assert list(found) == ["isolate: web during setup, call and teardown"]
    assert words(found.popitem()[1]) == ["call", "calling", "teardown", "after"]


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
def test_each_failed_subtest_has_the_lines_since_the_one_before(web: Project) -> None:
    web.tests(
        USE_SAY,
        """
        def test_it(web, subtests):
            for n in range(3):
                with subtests.test(n=n):
                    say(web, f"line-{n}")
                    assert n == 1
            say(web, "end")
        """,
    )
    result = web.run("--isolate-artifacts=kept")
    told = re.findall(r"^(?:  [\d:.]+  (\S+)|-+ isolate: (web during .*?) -+)$", result.stdout.str(), re.MULTILINE)
    assert told[:2] == [("", "web during setup and call"), ("line-0", "")]
    assert [("", "web during call"), ("line-1", ""), ("line-2", "")] in [told[n : n + 3] for n in range(len(told))]
    # pytest makes the test itself fail, for its subtests, only when its report is made.
    assert told[-2:] == [("", "web during call and teardown"), ("end", "")]
    (stored,) = (web.path / "kept").glob("*/web.log")
    assert re.findall(r"(line-\d|end)$", stored.read_text(), re.MULTILINE) == ["line-0", "line-1", "line-2", "end"]


def test_a_service_that_is_given_up_is_told_of_before_it_is_removed(project: Project) -> None:
    project.conftest(
        SAY,
        "def clean(web):\n    say(web, 'resetting')\n    raise ValueError('no')",
        f"web = service({SERVING}, reset=clean)",
    )
    project.tests(USE_SAY, "def test_it(web): say(web, 'calling')\ndef test_next(web): pass")
    result = project.run("-k", "test_it or test_next")
    result.assert_outcomes(passed=2, errors=2)
    found = sections(result.stdout.str())
    assert words(found["isolate: web during setup, call and teardown"])[:4] == [
        "call", "calling", "teardown", "resetting",
    ]  # fmt: skip


def test_a_service_that_did_not_start_is_told_with_its_place_and_how_long_was_waited(project: Project) -> None:
    project.conftest(
        f"db = service({SERVING})\n"
        "web = service(IMAGE, command=program('say hm', 'sleep 60'), port=8000, timeout=0.5, env={'DB': '{db.url}'})"
    )
    project.tests("def test_it(web): pass")
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.re_match_lines(
        [
            r"E? *service 'web' \(debian:bookworm-slim\) was not ready after 0\.\d s",
            r" +tried  tcp port 8000 at 127\.0\.0\.1:\d+, \d+ times; last answer: .*",
            r".*; declared at \S*conftest\.py:\d+",
        ]
    )
    assert list(sections(result.stdout.str())) == ["isolate: db during setup"]


def test_an_engine_that_does_not_answer_is_told_in_place_of_the_lines(project: Project) -> None:
    project.conftest(
        """
        ENGINE = open_fake()

        @pytest.hookimpl(tryfirst=True)
        def pytest_isolate_engine(config):
            return ENGINE
        """,
        WEB,
        engine="",
    )
    project.tests(
        """
        from conftest import ENGINE

        @pytest.fixture
        def back():
            yield
            ENGINE.come_back()

        def test_it(back, web):
            ENGINE.go_away()
            assert False
        """
    )
    (lines,) = failed_with(project).values()
    assert line(lines, "state") == "not known: the engine does not answer"


# -- long logs ------------------------------------------------------------------------------------------------------


LONG = """
def test_it(web):
    for n in range(100): say(web, f"line-{n}")
    assert False
"""


def test_a_long_log_is_cut_in_the_middle_and_says_what_stores_all(web: Project) -> None:
    web.tests(USE_SAY, LONG)
    (lines,) = failed_with(web).values()
    told = words(lines)
    assert told[told.index("call") + 1 :] == [
        *(f"line-{n}" for n in range(30)),
        "  ... 40 lines left out; --isolate-artifacts=DIR stores all ...",
        *(f"line-{n}" for n in range(70, 100)),
    ]


@pytest.mark.parametrize("way", ["option", "ini"])
def test_it_is_stored_whole(web: Project, way: str) -> None:
    web.tests(
        USE_SAY,
        "@pytest.fixture\ndef client(web):\n    yield web\n    say(web, 'bye')",
        LONG.replace("web", "client", 1).replace("(web,", "(client,"),
    )
    args = ["--isolate-artifacts=kept"]
    if way == "ini":
        args = []
        web.write("pytest.ini", "[pytest]\nisolate_artifacts = kept\n")
    found = failed_with(web, *args)
    (stored,) = (web.path / "kept").glob("*/web.log")
    assert stored.parent.name.startswith("test_it.py-test_it-")
    assert line(found["isolate: web during setup and call"], "stored") == str(stored)
    told = [text.split()[-1] for text in stored.read_text().splitlines()]
    assert told[told.index("call") :] == ["call", *(f"line-{n}" for n in range(100)), "teardown", "bye"]


def test_a_second_run_stores_its_own_lines_only(web: Project) -> None:
    web.tests(USE_SAY, "def test_it(web):\n    say(web, 'once')\n    assert False")
    for _ in range(2):
        failed_with(web, "--isolate-artifacts=kept")
    (stored,) = (web.path / "kept").glob("*/web.log")
    assert stored.read_text().count("once") == 1


def test_a_folder_that_is_a_file_ends_the_run(web: Project) -> None:
    web.write("kept", "")
    web.tests("def test_it(web): pass")
    result = web.run("--isolate-artifacts=kept")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --isolate-artifacts=kept: is not a folder"])


# -- for others than the terminal -----------------------------------------------------------------------------------


FAILING = """
@pytest.fixture
def client(web):
    yield web
    say(web, "after")
def test_pass(web): say(web, "passing")
def test_it(client):
    say(client, "calling")
    assert False
"""


def test_junit_xml_carries_the_same(web: Project) -> None:
    web.tests(USE_SAY, FAILING)
    failed_with(web, "--junitxml=junit.xml", "--isolate-artifacts=kept", passed=1, failed=1)
    cases = {case.get("name"): case for case in ElementTree.parse(web.path / "junit.xml").iter("testcase")}
    assert len(cases["test_pass"]) == 0
    properties = {p.get("name"): p.get("value") for p in cases["test_it"].iter("property")}
    (stored,) = (web.path / "kept").glob("*/web.log")
    assert properties == {
        "isolate.web.state": "running",
        "isolate.web.container": web.journal.requests[0]["name"],
        "isolate.web.log": str(stored),
    }
    first, last = (node.text for node in cases["test_it"].iter("system-out"))
    assert "isolate: web during setup and call" in first
    assert "  calling\n" in first
    assert "isolate: web during teardown" in last
    assert "  after\n" in last


def test_github_actions_has_groups_and_a_table(web: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    page = web.path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    web.tests(USE_SAY, FAILING)

    result = web.run("--junitxml=junit.xml")

    result.stdout.fnmatch_lines(
        [
            "::group::isolate: web during setup and call",
            "state   running",
            "  *  calling",
            "::endgroup::",
            "::group::isolate: web during teardown",
            "  *  after",
            "::endgroup::",
        ]
    )
    assert "::group::" not in (web.path / "junit.xml").read_text()
    assert page.read_text().splitlines() == [
        "before",
        "### Services of failed tests",
        "",
        "| test | service | state | log lines | stored in |",
        "| --- | --- | --- | --- | --- |",
        "| test_it.py::test_it | web | running | 1 |  |",
        "",
    ]


def test_the_table_has_services_that_did_not_start(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    page = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    project.conftest("web = service(IMAGE, command=program('exit 3'), port=8000)")
    project.tests("def test_a(web): pass\ndef test_b(web): pass")
    project.run().assert_outcomes(errors=2)
    assert page.read_text().splitlines()[4:] == [
        "| test_it.py::test_a | 'web' (debian:bookworm-slim) | ended before it was ready | 0 |  |",
        "| test_it.py::test_b | 'web' (debian:bookworm-slim) | ended before it was ready | 0 |  |",
        "",
    ]


def test_github_actions_is_told_nothing_of_tests_that_pass(web: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    page = web.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    web.tests(USE_SAY, "def test_it(web): say(web, 'passing')")
    result = web.run()
    assert "::group::" not in result.stdout.str()
    assert not page.exists()


# -- many tests, several workers ------------------------------------------------------------------------------------


def test_of_200_tests_in_4_workers_each_has_all_of_its_own_lines_and_none_of_anothers(project: Project) -> None:
    project.conftest(
        SAY, f"own = service({SERVING}, share='worker')\nalone = service({SERVING}, scope='function', memory='16m')"
    )
    project.tests(
        USE_SAY,
        """
        @pytest.fixture
        def client(own, request):
            say(own, f"{request.node.name}/setup")
            yield own
            say(own, f"{request.node.name}/teardown")

        @pytest.mark.parametrize("n", range(200))
        def test_it(client, n, request):
            services = [client] if n % 10 else [client, request.getfixturevalue("alone")]
            for service in services:
                for k in range(3): say(service, f"{request.node.name}/call-{k}")
            assert n % 3
        """,
    )

    result = project.run_xdist("--junitxml=junit.xml", workers=4)

    result.assert_outcomes(passed=133, failed=67)
    for case in ElementTree.parse(project.path / "junit.xml").iter("testcase"):
        number = int(re.findall(r"\d+", case.get("name", ""))[0])
        told = "".join(node.text or "" for node in case.iter("system-out"))
        marks = re.findall(r"  (test_it\[\d+\]/\S+)", told)
        calls = [f"{case.get('name')}/call-{k}" for k in range(3)]
        own = [
            f"{case.get('name')}/setup",
            *calls,
            *(calls if number % 10 == 0 else ()),
            f"{case.get('name')}/teardown",
        ]
        assert marks == ([] if number % 3 else own)


def test_of_a_first_test_in_another_worker_sections_and_stored_files_come_along(project: Project) -> None:
    project.conftest(SAY, f"web = service({SERVING}, share='worker')")
    project.tests(USE_SAY, "def test_a(web):\n    say(web, 'mine')\n    assert False\ndef test_b(web): pass")
    result = project.run_xdist("--isolate-artifacts=kept")
    result.assert_outcomes(passed=1, failed=1)
    found = sections(result.stdout.str())
    stored = line(found["isolate: web during setup and call"], "stored")
    assert Path(stored).read_text().endswith("mine\n")
