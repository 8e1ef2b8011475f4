"""Engines that do not share this host's network, and --isolate-host."""

from __future__ import annotations

import json

import pytest
from fakes.programs import IMAGE, program

from plugin.conftest import Project

# Its ports answer here all the same, under another address.
FAR = """
import msgspec.structs

class Far(FakeEngine):
    def facts(self):
        return msgspec.structs.replace(
            super().facts(),
            address="tcp://192.0.2.1:2375",
            is_local=False,
            host="127.0.0.1",
            publish_on="0.0.0.0",
            memory_bytes=1 << 30,
        )

def pytest_isolate_engine(config):
    return Far()
"""


def far(project: Project, *texts: str) -> None:
    project.conftest(FAR, *texts, engine="")


def test_services_on_an_engine_elsewhere_are_reached_there_and_stay_there(project: Project) -> None:
    """Trap 23, and trap 10: the engine would pick another port at each start."""
    far(project, "web = service(IMAGE, port=8000, command=program('serve 8000 hello'))")
    project.tests(
        """
        import urllib.request

        def test_it(web):
            address = web.address
            web.restart()
            assert web.address == address and 20_000 <= web.port < 30_000
            assert urllib.request.urlopen(f"http://{web.address}").read() == b"hello"
        """
    )
    project.run().assert_outcomes(passed=1)


def test_native_ports_on_an_engine_elsewhere_are_refused(project: Project) -> None:
    far(project, "web = service(IMAGE, port=8000, command=forever())\nall = stack(web=web, ports='native')")
    project.tests("def test_it(all): pass")
    result = project.run()
    result.assert_outcomes(errors=1)
    assert "cannot have its native ports" in result.stdout.str()


def test_the_budget_is_the_other_machines(project: Project) -> None:
    far(project, "web = service(IMAGE, memory='900m', command=forever())")
    project.tests("def test_it(web): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "can never fit into the run's budget" in result.stderr.str()
    project.run("--isolate-max-memory=2g").assert_outcomes(passed=1)


@pytest.mark.parametrize("way", ["option", "environment", "ini"])
def test_the_host_that_tests_dial_is_said(project: Project, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """By the command line, else the environment, else a file."""
    project.conftest("web = service(IMAGE, port=80, env={'ME': '{self.external_host}'}, command=program('serve 80'))")
    project.tests("def test_it(web): assert (web.host, web.env['ME']) == ('localhost', 'localhost')")
    project.write("pytest.ini", f"[pytest]\nisolate_host = {'localhost' if way == 'ini' else 'ini.test'}\n")
    if way != "ini":
        monkeypatch.setenv("PYTEST_ISOLATE_HOST", "localhost" if way == "environment" else "environment.test")
    project.run(*(["--isolate-host=localhost"] if way == "option" else [])).assert_outcomes(passed=1)


@pytest.mark.parametrize("host", ["tcp://box", "box:80", "-x", "two words", "::1"])
def test_what_is_no_host_is_refused(project: Project, host: str) -> None:
    project.conftest("web = service(IMAGE, command=forever())")
    project.tests("def test_it(web): pass")
    result = project.run(f"--isolate-host={host}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--isolate-host={host}: not a host" in result.stderr.str()


def test_variables_name_the_host_that_is_said(project: Project) -> None:
    """What is told before services start is where they are then."""
    project.write(
        "pyproject.toml",
        f"""
        [tool.pytest-isolate.services.web]
        image = "{IMAGE}"
        port = 8000
        command = {json.dumps(program("serve 8000 hello"))}

        [tool.pytest-isolate.env]
        WEB = "{{web.address}}"
        """,
    )
    project.conftest("")
    project.tests(
        """
        import os

        SEEN = os.environ["WEB"]

        def test_it(web): assert SEEN == web.address and web.host == "localhost"
        """
    )
    project.run("--isolate-host=localhost").assert_outcomes(passed=1)
