"""What goes wrong at run time: told with service, tried, found and do; and nothing is left behind."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.conftest import Project
from engine.proxy import Proxy
from pytest_isolate.engine.api import Engine

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

TEST = "def test_it(web): raise AssertionError('never here')\n"


def fails(project: Project, declared: str, *expected: str, args: tuple[str, ...] = ()) -> str:
    """The output of a run whose only test cannot have its service, with these lines in it."""
    project.conftest(declared)
    project.tests(TEST)
    result = project.run(*args)
    result.assert_outcomes(errors=1)
    text = result.stdout.str()
    for line in expected:
        assert re.search(line, text), f"{line!r} is not in\n{text}"
    assert "Traceback (most recent" not in text
    return text


def test_last_lines_of_a_long_log_are_complete(project: Project) -> None:
    """Trap 19: the very last lines are there, also when the container dies right behind them."""
    says = ", ".join(f"'say line {n}'" for n in range(60))
    text = fails(project, f"web = service(IMAGE, command=program({says}, 'exit 1'), ready=log('never'))")
    told = re.findall(r"^ +line (\d+)$", text, re.MULTILINE)
    assert told == [str(n) for n in range(40, 60)]


def test_server_that_listens_late_is_not_ready_too_soon(project: Project) -> None:
    """Trap 2: the engine's proxy accepts at once; the first request of the test must be answered all the same."""
    project.conftest("web = service(IMAGE, command=program('sleep 1', 'serve 8000 hello'), port=8000)")
    project.tests(
        """
        from urllib.request import urlopen

        def test_it(web):
            with urlopen(f"http://{web.address}", timeout=60) as answer:
                assert answer.read() == b"hello"
        """
    )
    project.run().assert_outcomes(passed=1)


def test_address_pool_that_is_too_small_says_which_and_how_to_have_more(project: Project) -> None:
    project.conftest(
        "web = service(IMAGE, command=forever())\na = stack(web=web)\nb = stack(web=web)\nc = stack(web=web)"
    )
    project.tests("def test_it(a, b, c): pass\ndef test_one(a): pass")
    result = project.run("--isolate-subnets=10.201.7.16/28")
    text = result.stdout.str()
    assert "no free subnet for the network of stack" in text
    assert "  tried  a /28 in 10.201.7.16/28" in text
    assert "  do     name a larger or another pool: --isolate-subnets=10.200.0.0/16" in text


@pytest.mark.slow
def test_more_networks_than_the_engines_own_pools_hold_are_possible(project: Project) -> None:
    """Trap 6: the default address pools of an engine end at about 30 networks."""
    project.conftest(
        "for n in range(32): globals()[f'net{n}'] = stack(web=service(IMAGE, command=forever(), memory='16m'))"
    )
    names = ", ".join(f"net{n}" for n in range(32))
    project.tests(f"def test_it({names}): pass")
    project.run().assert_outcomes(passed=1)


# -- the engine goes away -------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(project: Project, real_engine: Engine, tmp_path: Path) -> Iterator[Proxy]:
    """Stands between the project's runs and the engine."""
    address = real_engine.facts().address
    if not address.startswith("unix://"):
        pytest.skip("only an engine on a unix socket can be taken away by a proxy")
    # The path of a unix socket is at most 107 bytes long, which tmp_path may exceed.
    folder = Path("/tmp") / f"isolate-proxy-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    proxy = Proxy(folder / f"{time.monotonic_ns()}.sock", address.removeprefix("unix://"))
    proxy.start()
    project.env["DOCKER_HOST"] = proxy.address
    yield proxy
    proxy.stop()
    folder.rmdir()


WAITING = """
from pathlib import Path
from waiting import wait_for

def meet(name, other):
    Path(name).touch()
    wait_for(Path(other).exists)
"""


def test_engine_that_goes_away_in_the_middle_is_told_with_what_is_left_and_how_to_remove_it(
    project: Project, proxy: Proxy, docker_client: Any
) -> None:
    project.conftest("web = service(IMAGE, command=forever(), volumes={'data': '/data'})")
    project.tests(
        WAITING,
        """
        def test_it(web):
            meet("up", "gone")
            web.logs()

        def test_other():
            pass
        """,
    )
    run = project.start()
    run.wait_for((project.path / "up").exists)
    proxy.stop()
    (project.path / "gone").touch()
    result = run.result()
    result.assert_outcomes(failed=1, passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    assert "the engine does not answer (any more)" in text
    assert proxy.address in text
    assert "container objects could not be removed" in text
    commands = re.findall(r"docker (rm|volume rm|network rm).*--filter (label=\S+)\)", text)
    assert [command for command, _ in commands] == ["rm", "volume rm", "network rm"]
    # What the message says removes exactly what is left.
    filters = {"label": commands[0][1].removeprefix("label=")}
    for container in docker_client.containers(all=True, filters=filters):
        docker_client.remove_container(container["Id"], force=True, v=True)
    for volume in docker_client.volumes(filters=filters)["Volumes"]:
        docker_client.remove_volume(volume["Name"])
    for network in docker_client.networks(filters=filters):
        docker_client.remove_network(network["Id"])
    assert project.objects() == []


def test_engine_that_goes_away_while_a_service_starts_is_told_with_its_name(project: Project, proxy: Proxy) -> None:
    project.conftest("web = service(IMAGE, command=forever(), ready=command('false'), timeout=60)")
    project.tests("def test_it(web): pass\ndef test_other(): pass")
    run = project.start()
    run.wait_for_containers(1)
    proxy.stop()
    run.wait_for_output("E")
    proxy.start()  # so that the clean-up finds it
    result = run.result()
    result.assert_outcomes(errors=1, passed=1)
    text = result.stdout.str()
    assert "service 'web' (debian:bookworm-slim) could not be started" in text
    assert "the engine does not answer (any more)" in text
    assert "Traceback (most recent" not in text
