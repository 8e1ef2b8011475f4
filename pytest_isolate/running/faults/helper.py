"""A way into a container's network: a helper beside it that shares its network, and is told what to change there."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from pytest_isolate.engine.api import ContainerRequest, Engine
from pytest_isolate.errors import EngineError, FaultError
from pytest_isolate.running.faults import netlink
from pytest_isolate.running.faults.remote_syscalls import MACHINES, PATH, Calls, build_archive
from pytest_isolate.running.faults.target import Target

_MEMORY_BYTES = 16 * 1024**2
_NOT_SUPPORTED = 95
_GONE = 2


@contextmanager
def open_network(target: Target) -> Iterator[Calls]:
    """Calls that are carried out within the container's network, by a helper that is removed afterwards.

    It is made of the service's own image, of which it uses nothing. Its rights end at the container's network. Whatever
    it has changed there goes with it, also when this process is killed: the engine then closes its input.
    """
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
        engine.copy_into(helper, build_archive(machine))
        engine.start_container(helper)
        with closing(engine.open_session(helper, [PATH], {})) as session:
            yield Calls(session, machine)
    finally:
        # Its rules are gone by now; the engine takes a third of a second for the rest.
        threading.Thread(target=_remove, args=(engine, helper), name="isolate-fault-end", daemon=True).start()


def open_filter(target: Target, calls: Calls) -> int:
    """A socket to Linux' packet filter, as the number that calls know it by."""
    reply = calls.ask("socket", netlink.NETLINK, netlink.RAW, netlink.NETFILTER)
    if reply.result < 0:
        raise _refused(target, -reply.result)
    return reply.result


def tell(target: Target, calls: Calls, filter_number: int, messages: Sequence[bytes]) -> None:
    """Change the packet filter; FaultError says why where it refuses."""
    for message in messages:
        error = _tell(calls, filter_number, message)
        if error:
            raise _refused(target, error)


def _tell(calls: Calls, number: int, message: bytes) -> int:
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
    try:
        engine.remove_container(helper)
    except EngineError:
        pass  # the clean-up at the end finds it by its labels, tries again and reports
