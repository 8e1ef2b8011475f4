"""Faults on purpose, as tests use them."""

from __future__ import annotations

import pytest

from plugin.conftest import WEB, Project
from plugin.test_fresh import DB, SCHEMA

GET = """
from urllib.request import urlopen

def get(service):
    with urlopen(service.url, timeout=0.3) as answer:
        return answer.read().decode()
"""


@pytest.mark.parametrize("fault", ["paused", "stopped", "killed"])
def test_a_service_is_gone_for_the_block_and_back_behind_it(project: Project, fault: str) -> None:
    project.conftest(WEB)
    project.tests(
        GET,
        f"""
        def test_fault(web):
            address = web.address
            for _ in range(2):
                with web.{fault}():
                    with pytest.raises(OSError):
                        get(web)
                assert get(web) == "hello"
            assert web.address == address

        def test_fails(web):
            with web.{fault}():
                get(web)

        def test_canary(web):
            assert get(web) == "hello"
        """,
    )
    result = project.run()
    result.assert_outcomes(passed=2, failed=1)
    # The failed test's own error, and nothing of a service that has died.
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_fails - *Error*"])
    assert "exited" not in result.stdout.str()
    project.journal.assert_nothing_is_left()


def test_an_interrupted_run_undoes_its_faults(project: Project) -> None:
    project.conftest(WEB)
    project.tests(
        """
        def test_it(web):
            with web.paused():
                raise KeyboardInterrupt
        """
    )
    result = project.run_subprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert len(project.journal.calls("unpause_container")) == 1
    project.journal.assert_nothing_is_left()


def test_an_engine_that_cannot_do_it_says_so(project: Project) -> None:
    project.conftest(WEB)
    project.tests(
        GET,
        """
        @pytest.mark.parametrize("fault", ["disconnected", "slow"])
        def test_it(web, fault):
            arguments = {"latency": 1} if fault == "slow" else {}
            with pytest.raises(IsolateError, match="'web' cannot be given a fault of its network here"):
                with getattr(web, fault)(**arguments):
                    pytest.fail("it cannot have begun")
            assert get(web) == "hello"
        """,
    )
    project.run().assert_outcomes(passed=2)
    project.journal.assert_nothing_is_left()


def test_a_wrong_value_is_told(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_it(web): web.slow(rate='1 MB')")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*slow(rate='1 MB') cannot be understood", "E*valid  a text such as '512kbit'*"])


def test_what_is_stopped_within_a_fault_is_told(project: Project) -> None:
    project.conftest(WEB)
    project.tests(
        GET,
        """
        def test_it(web):
            with web.killed():
                with pytest.raises(IsolateError, match="cannot be stopped, because it does not run"):
                    with web.stopped():
                        pytest.fail("it cannot have begun")
            assert get(web) == "hello"

        def test_started_by_hand(web):
            with web.stopped():
                web.start()
                assert get(web) == "hello"
            assert get(web) == "hello"
        """,
    )
    project.run().assert_outcomes(passed=2)


def test_a_fresh_copy_cannot_take_the_server_from_others(project: Project) -> None:
    project.conftest(DB, 'orders = fresh(db, init="schema.sql")')
    project.write("schema.sql", SCHEMA)
    project.tests(
        """
        @pytest.mark.parametrize("fault", ["paused", "stopped", "killed", "disconnected", "slow"])
        def test_it(orders, fault):
            with pytest.raises(IsolateError, match=rf"{fault}\\(\\) is not for 'orders'"):
                getattr(orders, fault)()
        """
    )
    project.run().assert_outcomes(passed=5)
