"""Faults of a container's network: everything cut off, or everything it sends held up."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from random import Random

from pytest_isolate.engine.api import Capability, ContainerRequest, Engine, require
from pytest_isolate.errors import EngineError, FaultError
from pytest_isolate.running.faults import netlink
from pytest_isolate.running.faults.delayer import Delayer
from pytest_isolate.running.faults.impairment import Impairment, LinkModel
from pytest_isolate.running.faults.remote_syscalls import MACHINES, PATH, RemoteSyscalls, program_archive
from pytest_isolate.running.faults.target import Target

_MEMORY_BYTES = 16 * 1024**2
_NOT_SUPPORTED = 95
_GONE = 2
_QUEUES = 65536


@contextmanager
def open_network(target: Target) -> Iterator[RemoteSyscalls]:
    """Calls that are carried out within the container's network, by a helper that is removed afterwards.

    It is made of the service's own image, of which it uses nothing. Its rights end at the container's network. Whatever
    it has changed there goes with it, also when this process is killed: the engine then closes its input.
    """
    require(
        target.engine.facts(),
        Capability.NETWORK_FAULTS,
        f"service {target.service!r} cannot be given a fault of its network",
        "use stopped() or killed(), which every engine has",
    )
    engine, machine = target.engine, MACHINES.get(target.engine.facts().machine)
    if machine is None:
        raise FaultError(
            target.service,
            "cannot be given a fault of its network here",
            found=f"the engine runs on {target.engine.facts().machine or 'a machine of unknown kind'}",
            do=f"known are {', '.join(MACHINES)}; paused(), stopped() and killed() are everywhere",
        )
    helper = engine.create_container(_helper_request(target))
    try:
        engine.copy_into(helper, program_archive(machine))
        engine.start_container(helper)
        with closing(engine.open_session(helper, [PATH], {})) as session:
            yield RemoteSyscalls(session, machine)
    finally:
        # Its rules are gone by now; the engine takes a third of a second for the rest.
        threading.Thread(target=_remove, args=(engine, helper), name="isolate-fault-end", daemon=True).start()


def open_filter(target: Target, calls: RemoteSyscalls) -> int:
    """A socket to Linux' packet filter, as the number that calls know it by."""
    reply = calls.ask("socket", netlink.NETLINK, netlink.RAW, netlink.NETFILTER)
    if reply.result < 0:
        raise _refused(target, -reply.result)
    return reply.result


def tell(target: Target, calls: RemoteSyscalls, filter_number: int, messages: Sequence[bytes]) -> None:
    """Change the packet filter; FaultError says why where it refuses."""
    for message in messages:
        error = _tell(calls, filter_number, message)
        if error:
            raise _refused(target, error)


def _tell(calls: RemoteSyscalls, number: int, message: bytes) -> int:
    """The number of the error, or 0. The answer is there when the message has been taken."""
    sent = calls.ask("sendto", number, calls.content_at, len(message), 0, 0, 0, content=message)
    if sent.result < 0:
        return -sent.result
    reply = calls.receive_now(number)
    return -reply.result if reply.result < 0 else max(netlink.parse_errors(reply.content[: reply.result]), default=0)


def _refused(target: Target, error: int) -> FaultError:
    why = os.strerror(error)
    too_old = error in (_NOT_SUPPORTED, _GONE)
    return FaultError(
        target.service,
        "cannot be given a fault of its network here",
        tried="nf_tables, in the network of its container",
        found=f"the kernel says: {why}",
        do="that takes Linux 5.12 or newer with nf_tables, nft_compat and nfnetlink_queue"
        if too_old
        else "paused(), stopped() and killed() need no rights of this kind",
    )


def _helper_request(target: Target) -> ContainerRequest:
    volumes = target.engine.inspect_container(target.container_id).volumes
    return ContainerRequest(
        name=target.name_helper(secrets.token_hex(4)),
        image=target.image,
        labels=target.labels,
        entrypoint=(PATH,),
        command=(),
        joined=target.container_id,
        user="0:0",
        keeps_input=True,
        # Those that the image declares would be made, and filled, for it anew.
        volumes=volumes,
        memory_bytes=_MEMORY_BYTES,
        pids=8,
        cap_drop=("ALL",),
        cap_add=("NET_ADMIN",),
    )


def _remove(engine: Engine, helper: str) -> None:
    with suppress(EngineError):  # the clean-up at the end finds it by its labels, tries again and reports
        engine.remove_container(helper)


@contextmanager
def disconnect(target: Target) -> Iterator[None]:
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
        delayer = Delayer(calls, packets, queue, LinkModel(impairment, Random()))
        tell(target, calls, rules, netlink.queue_messages(table, queue))
        delayer.start()
        try:
            yield
        finally:
            _end_delays(target, calls, delayer, rules, table)


def _end_delays(target: Target, calls: RemoteSyscalls, delayer: Delayer, rules: int, table: str) -> None:
    """First nothing more is held up, then what is held up goes, and the table last: it would take its packets along."""
    (message,) = netlink.unqueue_messages(table)
    delayer.stop(rules, message)
    if delayer.failure:
        raise _ended_early(target, "slow", delayer.failure)
    calls.receive_now(rules)
    _remove_table(target, calls, rules, table, "slow")


def _remove_table(target: Target, calls: RemoteSyscalls, filter_number: int, table: str, done: str) -> None:
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
