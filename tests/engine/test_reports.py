"""What a failed test's report tells, where the engine reads a log later than it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

SAY = """
from urllib.request import urlopen

def say(web, word):
    urlopen(f"http://{web.address}/say/{word}", timeout=60).read()
"""
SERVING = 'IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), timeout=60, memory="32m"'
USE_SAY = "from conftest import say\nimport os, time\n"


def told(path: Path) -> Iterator[tuple[str, str]]:
    """For each test case of JUnit XML its name, and what is told of its services."""
    for case in ElementTree.parse(path).iter("testcase"):
        yield case.get("name", ""), "".join(node.text or "" for node in case.iter("system-out"))


def test_last_line_before_a_service_is_killed_is_there(project: Project) -> None:
    project.conftest(SAY, f"web = service({SERVING})")
    project.tests(
        USE_SAY,
        """
        import docker, signal

        @pytest.mark.parametrize("n", range(3))
        def test_it(web, n):
            client = docker.from_env()
            pid = client.api.inspect_container(web.container_id)["State"]["Pid"]
            client.close()
            say(web, f"last-{n}")
            os.kill(pid, signal.SIGKILL)  # kill -9 of the service itself, of which the engine only hears
            assert False

        @pytest.fixture(autouse=True)
        def again(web):
            yield
            web.start()
        """,
    )
    result = project.run("--junitxml=junit.xml")
    result.assert_outcomes(failed=3)
    for number, (_, text) in enumerate(told(project.path / "junit.xml")):
        first = text.partition("during teardown")[0]
        assert re.findall(r"^  [\d:.]+  (last-\d)$", first, re.MULTILINE) == [f"last-{number}"]
        assert re.search(r"^state   exited with code 137 \(SIGKILL\), .*, during this test$", first, re.MULTILINE)
        assert re.search(r"^inside  docker cp \S+:/PATH \.; docker logs \S+$", first, re.MULTILINE)


def test_failed_tests_in_4_workers_have_all_of_their_own_lines_and_none_of_anothers(project: Project) -> None:
    """Also where another one has just passed: what the engine may have read late is said to be that one's."""
    project.conftest(SAY, f"own = service({SERVING}, share='worker')\nalone = service({SERVING}, scope='function')")
    project.tests(
        USE_SAY,
        """
        @pytest.fixture
        def client(own, request):
            say(own, f"{request.node.name}/setup")
            yield own
            say(own, f"{request.node.name}/teardown")

        @pytest.mark.parametrize("n", range(60))
        def test_it(client, n, request):
            services = [client] if n % 15 else [client, request.getfixturevalue("alone")]
            for service in services:
                for k in range(3): say(service, f"{request.node.name}/call-{k}")
            assert n % 3 == 1
        """,
    )
    result = project.run("-n4", "--junitxml=junit.xml")
    result.assert_outcomes(passed=20, failed=40)
    for name, text in told(project.path / "junit.xml"):
        number = int(re.findall(r"\d+", name)[0])
        marks = re.findall(r"^  [\d:.]+  (test_it\[\d+\]/\S+)$", text, re.MULTILINE)
        calls = [f"{name}/call-{k}" for k in range(3)] * (1 if number % 15 else 2)
        own = [f"{name}/setup", *calls, f"{name}/teardown"] if number % 3 != 1 else []
        late = [mark for mark in marks if not mark.startswith(f"{name}/")]
        before = re.findall(r"test_it\.py::(\S+) ", "".join(re.findall(r"^before  .*$", text, re.MULTILINE)))
        assert sorted(set(marks) - set(late)) == sorted(set(own)), name
        assert [mark for mark in marks if mark not in late] == own
        assert {mark.partition("/")[0] for mark in late} <= set(before), f"{name}: {late}"


def test_tests_that_use_a_service_at_the_same_time_are_named(project: Project) -> None:
    project.conftest(SAY, f"web = service({SERVING})")
    project.tests(
        USE_SAY,
        """
        from pathlib import Path

        @pytest.mark.parametrize("name, other", [("a", "b"), ("b", "a")])
        def test_it(web, name, other):
            Path(name).touch()
            while not Path(other).exists(): time.sleep(0.02)
            say(web, f"by-{name}")
            time.sleep(0.3)
            assert name == "b"

        def test_alone(): pass
        """,
    )
    result = project.run("-n2", "--junitxml=junit.xml")
    result.assert_outcomes(passed=2, failed=1)
    text = dict(told(project.path / "junit.xml"))["test_it[a-b]"]
    assert "isolate: web during setup and call, used by another test at the same time\n" in text
    assert "others  lines may be of test_it.py::test_it[b-a]: they used it at the same time\n" in text
    assert {"by-a", "by-b"} <= set(text.split())
