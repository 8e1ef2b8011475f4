"""Functions of users, async or not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pytest_isolate.running.data.user_function import call, describe_failure


def fail(handle: object) -> None:
    raise ValueError(f"not {handle}")


async def fail_later(handle: object) -> None:
    await asyncio.sleep(0)
    fail(handle)


async def skip_later(handle: object) -> None:
    pytest.skip("on purpose")


@pytest.mark.parametrize("function", [fail, fail_later])
def test_what_is_raised_is_told_in_the_users_own_lines(function: object) -> None:
    with pytest.raises(ValueError, match="not this") as caught:
        call(function, "this")  # type: ignore[arg-type]
    # Whoever calls is a part of this package, and not this test.
    shown = caught.value.with_traceback(caught.tb.tb_next)
    lines = describe_failure(shown).splitlines()
    told = [line.strip().partition(",")[0] for line in lines if line.startswith("  File ")]
    assert set(told) == {f'File "{__file__}"'}
    assert lines[-1] == "ValueError: not this"


def test_an_outcome_of_pytest_comes_through() -> None:
    with pytest.raises(pytest.skip.Exception, match="on purpose"):
        call(skip_later, None)


def test_a_coroutine_has_run_when_the_call_returns_also_where_a_loop_runs() -> None:
    seen: list[object] = []

    async def note(handle: object) -> None:
        await asyncio.sleep(0)
        seen.extend([handle, threading.current_thread()])

    async def within_a_loop() -> None:
        before = asyncio.get_running_loop()
        call(note, 1)
        assert asyncio.get_running_loop() is before

    asyncio.run(within_a_loop())
    assert seen[0] == 1
    assert seen[1] is not threading.current_thread()
