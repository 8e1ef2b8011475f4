"""Faults of a container's network: everything cut off, or everything it sends held up."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from pytest_isolate.errors import EngineError, FaultError
from pytest_isolate.running.faults import netlink
from pytest_isolate.running.faults.delayer import Delayer
from pytest_isolate.running.faults.helper import open_filter, open_network, tell
from pytest_isolate.running.faults.impairment import Course, Impairment
from pytest_isolate.running.faults.remote_syscalls import Calls
from pytest_isolate.running.faults.target import Target

_QUEUES = 65536


@contextmanager
def cut_off(target: Target) -> Iterator[None]:
    """No packet reaches the container or leaves it; connections stay open, and go on afterwards."""
    with open_network(target) as calls:
        filter_number, table = open_filter(target, calls), _table_name()
        tell(target, calls, filter_number, netlink.cut_messages(table))
        try:
            yield
        finally:
            _remove_table(target, calls, filter_number, table, "disconnected")


@contextmanager
def slow_down(target: Target, impairment: Impairment) -> Iterator[None]:
    """Every packet that the container sends is held up, or lost."""
    with open_network(target) as calls:
        # Of one socket's packets the other must not hear.
        packets, rules = open_filter(target, calls), open_filter(target, calls)
        queue, table = secrets.randbelow(_QUEUES), _table_name()
        tell(target, calls, packets, netlink.bind_messages(queue))
        delayer = Delayer(calls, packets, queue, Course(impairment, Random()))
        tell(target, calls, rules, netlink.queue_messages(table, queue))
        delayer.start()
        try:
            yield
        finally:
            _end_delays(target, calls, delayer, rules, table)


def _end_delays(target: Target, calls: Calls, delayer: Delayer, rules: int, table: str) -> None:
    """First nothing more is held up, then what is held up goes, and the table last: it would take its packets along."""
    (message,) = netlink.unqueue_messages(table)
    delayer.stop(rules, message)
    if delayer.failure:
        raise _ended_early(target, "slow", delayer.failure)
    calls.receive_now(rules)
    _remove_table(target, calls, rules, table, "slow")


def _remove_table(target: Target, calls: Calls, filter_number: int, table: str, done: str) -> None:
    try:
        tell(target, calls, filter_number, netlink.remove_messages(table))
    except EngineError as error:
        raise _ended_early(target, done, error) from None


def _ended_early(target: Target, done: str, error: EngineError) -> FaultError:
    """The helper has gone, and with it its rules."""
    return FaultError(
        target.service,
        f"was not {done} to the end of the block",
        found=str(error),
        do="see whether something has removed its helper, a container of this run, or whether the engine restarted",
    )


def _table_name() -> str:
    """Several faults may hold at a time, of several processes."""
    return f"isolate-{secrets.token_hex(4)}"
