"""Engines that do not share this host's network, and --isolate-host."""

from __future__ import annotations

import json
import socket

import pytest
from fakes.engine import HOST_ADDRESS_VARIABLE
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
    return Far(open_fake()._journal)
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
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "service 'all.web' cannot have its native ports" in result.stderr.str()
    assert "found  the engine publishes ports at 127.0.0.1, where no stack has an address" in result.stderr.str()
    assert not project.journal.calls("create_container")


# -- engines in a virtual machine of this host ------------------------------------------------------------------------

FORWARDED = FAR.replace("tcp://192.0.2.1:2375", "fake://").replace("is_local=False", "shares_kernel=False")


def forwarded(project: Project, *texts: str) -> None:
    project.conftest(FORWARDED, *texts, engine="")


def test_ports_of_a_virtual_machine_are_bound_by_its_forwarder_only(project: Project) -> None:
    """Trap 38. The fake's programs bind their ports without SO_REUSEADDR, as forwarders on Windows do."""
    forwarded(project, "web = service(IMAGE, port=8000, command=program('serve 8000 hello'))")
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


def test_a_service_without_ports_is_waited_for_in_a_virtual_machine(project: Project) -> None:
    """There is nothing that its forwarder could lack."""
    forwarded(project, "job = service(IMAGE, command=program('sleep 0.3', 'say up', 'sleep 60'), ready=log('up'))")
    project.tests("def test_it(job): assert 'up' in job.logs()")
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("scope", ["planned", "asked for by the test"])
def test_native_ports_in_a_virtual_machine_are_refused(project: Project, scope: str) -> None:
    forwarded(project, "web = service(IMAGE, port=8000, command=forever())\nall = stack(web=web, ports='native')")
    if scope == "planned":
        project.tests("def test_it(all): pass")
        result = project.run()
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        told = result.stderr.str()
    else:
        project.tests("def test_it(request): request.getfixturevalue('all')")
        result = project.run()
        result.assert_outcomes(failed=1)
        told = result.stdout.str()
    assert "cannot have its native ports" in told
    assert "found  the engine runs in a virtual machine, whose forwarder knows no loopback address but" in told
    assert "do     use ports='held' for the stack" in told
    assert not project.journal.calls("create_container")


def test_the_budget_is_the_virtual_machines(project: Project) -> None:
    forwarded(project, "web = service(IMAGE, memory='900m', command=forever())")
    project.tests("def test_it(web): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "can never fit into the run's budget" in result.stderr.str()


def test_service_on_this_hosts_loopback_is_known_in_a_virtual_machine_as_the_engine_has_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing answers at the gateway of the engine's bridge, which is no address of this host."""
    monkeypatch.setenv(HOST_ADDRESS_VARIABLE, "127.9.9.9")
    forwarded(
        project, "db = service('none:1', port=80)\nweb = service(IMAGE, env={'DB': '{db.host}'}, command=forever())"
    )
    project.tests("def test_it(web): pass")
    with socket.create_server(("127.0.0.1", 0)) as server:
        project.run(f"--isolate-use=db=http://127.0.0.1:{server.getsockname()[1]}").assert_outcomes(passed=1)
    (created,) = project.journal.calls("create_container")
    assert created[0]["settings"]["extra_hosts"] == [["db", "host-gateway"]]


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
