"""Faults on purpose, on a real engine: each does what it says, to tests and neighbours, and nothing of it stays."""

from __future__ import annotations

import os
import signal

import pytest

from engine.conftest import Project
from engine.test_snapshots import SERVICES, SQL

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

DECLARED = """
web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"))
big = service(IMAGE, command=program("serve 8000 " + "x" * 25_000), port=8000, ready=http("/"))
app = service(IMAGE, command=program("serve 8000 app"), port=8000, ready=http("/"), env={"WEB": "{web.url}"})
"""
CLIENT = """
import json, socket, subprocess, time
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

def get(service, path="/", timeout=60):
    with urlopen(service.url + path, timeout=timeout) as answer:
        return answer.read().decode()

def seconds_for(act, *args):
    began = time.monotonic()
    act(*args)
    return time.monotonic() - began

def takes(at_least, less_than, act, *args):
    # Never less; of twenty times one is enough, for other work on the machine is not what is measured.
    seen = []
    while not seen or seen[-1] >= less_than:
        assert len(seen) < 20, seen
        seen.append(seconds_for(act, *args))
        assert seen[-1] >= at_least
    return True

def is_silent(service):
    try:
        get(service, timeout=0.3)
    except OSError:
        return True
    return False
"""


def test_each_fault_is_undone_within_100_ms_until_a_canary_passes(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests(
        CLIENT,
        """
        def back_within(fault, web, check):
            fault.__enter__()
            try:
                check()
            finally:
                took = seconds_for(lambda: (fault.__exit__(None, None, None), get(web)))
            assert get(web) == "hello"
            return took

        @pytest.mark.parametrize(
            ("fault", "arguments"),
            [
                ("paused", {}),
                ("disconnected", {}),
                ("slow", {"latency": "100ms", "jitter": 0.05, "rate": "1mbit"}),
                ("slow", {"loss": "100%"}),
            ],
        )
        def test_undone(web, fault, arguments):
            def check():
                assert "latency" in arguments or is_silent(web)

            # Other work on the machine is not what is measured: the first that is quick enough will do, where a plain
            # request shows how quick this machine is at the moment.
            seen, plain = [], 0
            while not seen or seen[-1] >= 0.1 + 3 * plain:
                assert len(seen) < 20, seen
                plain = seconds_for(get, web)
                seen.append(back_within(getattr(web, fault)(**arguments), web, check))

        @pytest.mark.parametrize("fault", ["stopped", "killed"])
        def test_back_at_the_same_address(web, fault):
            before = web.address
            with getattr(web, fault)():
                with pytest.raises(OSError, match="refused"):
                    get(web)
            assert web.address == before
            assert get(web) == "hello"
        """,
    )
    result = project.run()
    result.assert_outcomes(passed=6)
    assert "killed" not in result.stdout.str().lower()
    assert not project.objects()


@pytest.mark.parametrize("fault", ["stopped", "killed"])
def test_neighbours_do_not_find_the_name_of_what_does_not_run(project: Project, fault: str) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"))
        client = service(IMAGE, command=forever(), needs=["web"])
        """
    )
    project.tests(
        f"""
        def test_it(web, client):
            def finds(): return client.exec("getent", "hosts", "web").exit_code == 0
            assert finds()
            with web.{fault}():
                assert not finds()
            assert finds()
        """
    )
    project.run().assert_outcomes(passed=1)


def test_slow_is_as_slow_as_it_says(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests(
        CLIENT,
        """
        def test_latency(web):
            with web.slow(latency="150ms"):
                # The answer to the connection, and the answer to the request.
                assert takes(0.3, 2, get, web)
            with web.slow(latency=0.1), web.slow(latency=0.05):
                assert takes(0.3, 2, get, web)
            assert takes(0, 0.3, get, web)

        def test_rate(big):
            with big.slow(rate="1mbit"):
                assert takes(0.2, 2, get, big)  # 25,000 bytes
            assert takes(0, 0.2, get, big)

        def test_neighbours_too(web, app):
            with web.slow(latency="200ms"):
                assert takes(0, 0.4, get, app)
                assert seconds_for(get, app, "/fetch/web/8000") >= 0.4
            assert takes(0, 0.4, get, app, "/fetch/web/8000")

        def test_many_packets(big):
            with big.slow(latency="5ms"):
                for _ in range(10):
                    assert len(get(big)) == 25_000
        """,
    )
    project.run().assert_outcomes(passed=4)


def test_a_connection_outlives_being_disconnected(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests(
        CLIENT,
        """
        def test_it(web, app):
            with socket.create_connection((web.host, web.port), timeout=60) as open_before:
                open_before.sendall(b"GET / HTTP/1.0\\r\\n")
                with web.disconnected():
                    open_before.sendall(b"\\r\\n")
                    open_before.settimeout(0.3)
                    with pytest.raises(TimeoutError):
                        open_before.recv(1)
                    with pytest.raises(HTTPError, match="502"):
                        get(app, "/fetch/web/8000")
                    assert web.exec(*program("fetch localhost 8000"), check=True).stdout == "hello\\n"
                    assert get(app) == "app"
                open_before.settimeout(60)
                assert open_before.recv(100).startswith(b"HTTP/1.0 200")
            assert get(app, "/fetch/web/8000") == "hello"
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_faults_within_faults(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests(
        CLIENT,
        """
        def test_paused_while_slow(web):
            with web.slow(latency="150ms"):
                with web.paused():
                    assert is_silent(web)
                assert seconds_for(get, web) >= 0.3
            assert takes(0, 0.3, get, web)

        def test_disconnected_twice(web):
            with web.disconnected():
                with web.disconnected():
                    assert is_silent(web)
                assert is_silent(web)
            assert get(web) == "hello"

        @pytest.mark.parametrize("fault", ["disconnected", "slow"])
        def test_what_starts_again_has_a_network_without_faults(web, fault):
            arguments = {"latency": "300ms"} if fault == "slow" else {}
            with getattr(web, fault)(**arguments):
                with web.killed():
                    pass
                assert takes(0, 0.6, get, web)
            assert get(web) == "hello"

        def test_an_error_in_the_block(web):
            for fault in (web.paused(), web.disconnected(), web.slow(latency=1), web.killed()):
                with pytest.raises(ZeroDivisionError), fault:
                    1 / 0
                assert takes(0, 1, get, web)

        @pytest.mark.parametrize("fault", ["disconnected", "slow"])
        def test_a_fault_that_ends_too_early_is_told(web, fault):
            engine, arguments = web._controls._engine, {"latency": "1ms"} if fault == "slow" else {}
            with pytest.raises(IsolateError, match=f"'web' was not {fault} to the end of the block"):
                with getattr(web, fault)(**arguments):
                    found = engine.find_labelled("pytest-isolate.run")
                    (own,) = [each for each in found if each.object_id == web.container_id]
                    run = own.labels["pytest-isolate.run"]
                    for helper in found:
                        if helper.labels["pytest-isolate.run"] == run and "-fault-" in helper.name:
                            engine.kill_container(helper.object_id)
            assert get(web) == "hello"

        def test_dead(web):
            web.kill()
            for fault in (web.paused(), web.stopped(), web.killed(), web.disconnected(), web.slow(latency=1)):
                with pytest.raises(IsolateError, match="because it does not run"), fault:
                    pytest.fail("it cannot have begun")
            web.start()
            assert get(web) == "hello"
        """,
    )
    project.run().assert_outcomes(passed=8)
    assert not project.objects()


def test_two_workers_may_do_it_to_one_service(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests(
        CLIENT,
        """
        @pytest.mark.parametrize("number", range(4))
        def test_it(web, number):
            with web.slow(latency="50ms"):
                assert seconds_for(get, web) >= 0.1
            assert get(web) == "hello"
        """,
    )
    project.run("-n2").assert_outcomes(passed=4)


@pytest.mark.parametrize("fault", ["web.paused()", "web.slow(latency=9), web.disconnected()"])
def test_a_run_that_is_killed_leaves_no_fault_on_what_is_kept(project: Project, fault: str) -> None:
    project.conftest(DECLARED)
    project.tests(
        CLIENT,
        f"""
        import os

        def test_it(web):
            assert get(web) == "hello"
            if "UNHARMED" not in os.environ:
                with {fault}:
                    print("in the block", flush=True)
                    time.sleep(60)
        """,
    )
    killed = project.start("--isolate-reuse", "-s")
    killed.wait_for_output("in the block")
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.result()
    project.env["UNHARMED"] = "1"
    try:
        project.run("--isolate-reuse").assert_outcomes(passed=1)
    finally:
        project.left.remove(project.objects())


def test_an_interrupted_run_leaves_nothing(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests(
        """
        import time

        def test_it(web):
            with web.slow(latency=1), web.disconnected(), web.paused():
                print("in the block", flush=True)
                time.sleep(60)
        """
    )
    run = project.start("-s")
    run.wait_for_output("in the block")
    run.interrupt()
    assert run.result().ret == 2
    assert "FaultError" not in run.output
    assert not project.objects()


@pytest.mark.slow
def test_a_reset_follows_a_fault(project: Project) -> None:
    build = f"{{'context': {str(SERVICES / 'postgres')!r}, 'network': 'host'}}"
    project.conftest(f"db = service(postgres(image=None, build={build}, reset=True))")
    project.tests(
        SQL,
        """
        @pytest.mark.parametrize("fault", ["killed", "paused"])
        def test_it(db, fault):
            sql(db, "CREATE TABLE only_this_tests (what text)")
            with getattr(db, fault)():
                pass
        """,
    )
    project.run().assert_outcomes(passed=2)


@pytest.mark.slow
def test_data_in_memory_outlives_faults(project: Project) -> None:
    build = f"{{'context': {str(SERVICES / 'postgres')!r}, 'network': 'host'}}"
    project.conftest(f"db = service(postgres(image=None, build={build}))")
    project.tests(
        SQL,
        """
        @pytest.mark.parametrize("fault", ["killed", "stopped", "paused", "disconnected"])
        def test_it(db, fault):
            sql(db, "CREATE TABLE IF NOT EXISTS seen (what text)")
            before = int(sql(db, "SELECT count(*) FROM seen"))
            sql(db, f"INSERT INTO seen VALUES ('{fault}')")
            with getattr(db, fault)():
                pass
            assert sql(db, "SELECT count(*) FROM seen") == str(before + 1)
        """,
    )
    project.run().assert_outcomes(passed=4)
    assert not project.objects()
