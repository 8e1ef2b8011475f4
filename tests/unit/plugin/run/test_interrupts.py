"""Ctrl-C, twice in a row."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from pytest_isolate.plugin.run import interrupts
from pytest_isolate.plugin.run.interrupts import join_interrupts


@pytest.fixture(autouse=True)
def _own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_second_interrupt_in_a_row_does_not_break_off_what_the_first_began() -> None:
    restore = join_interrupts()
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    interrupt()
    restore()


def test_later_interrupt_counts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_SAME_WITHIN_S", 0.01)
    restore = join_interrupts()
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    time.sleep(0.02)
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    restore()


def test_python_s_own_handler_is_back_afterwards() -> None:
    join_interrupts()()

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_somebody_else_s_handler_is_left_alone(handler: signal.Handlers) -> None:
    signal.signal(signal.SIGINT, handler)
    restore = join_interrupts()
    assert signal.getsignal(signal.SIGINT) is handler
    restore()
    assert signal.getsignal(signal.SIGINT) is handler


def test_other_threads_than_the_main_one_change_nothing() -> None:
    thread = threading.Thread(target=join_interrupts)
    thread.start()
    thread.join()

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
