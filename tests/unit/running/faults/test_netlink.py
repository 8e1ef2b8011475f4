"""Messages to the packet filter. That a kernel takes them for what they mean is for tests/engine/test_faults.py."""

from __future__ import annotations

import struct

import pytest

from pytest_isolate.running.faults import netlink
from pytest_isolate.running.faults.remote_syscalls import CONTENT_BYTES

TABLE = "isolate-0123abcd"


def told_of(*attributes: bytes, kind: int = 3 << 8) -> bytes:
    """A message from the kernel about a packet, as nfnetlink_queue.h lays it out."""
    body = struct.pack(">BBH", 2, 0, 7) + b"".join(attributes)
    return struct.pack("<IHHII", 16 + len(body), kind, 0, 0, 0) + body


def attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


HEAD = attribute(1, struct.pack(">IHB", 41, 0x0800, 3))


def test_a_packet_is_known_by_its_number_and_its_size() -> None:
    message = told_of(HEAD, attribute(6, bytes(4)), attribute(13, struct.pack(">I", 1500)), attribute(10, bytes(20)))
    assert netlink.parse_packet(message) == netlink.Packet(number=41, size_bytes=1500)


def test_a_short_packet_comes_as_a_whole() -> None:
    assert netlink.parse_packet(told_of(HEAD, attribute(10, bytes(20)))) == netlink.Packet(number=41, size_bytes=20)


@pytest.mark.parametrize("cut_by", range(1, 60))
def test_a_message_that_is_cut_still_tells_the_packets_number(cut_by: int) -> None:
    message = told_of(HEAD, attribute(13, struct.pack(">I", 1500)), attribute(10, bytes(80)))
    packet = netlink.parse_packet(message[:-cut_by])
    assert packet
    assert packet.number == 41


def test_an_acknowledgement_is_no_packet() -> None:
    assert netlink.parse_packet(told_of(kind=2)) is None


def test_errors_are_told_by_number() -> None:
    done = struct.pack("<IHHIIi", 36, 2, 0, 1, 0, 0) + bytes(16)
    refused = struct.pack("<IHHIIi", 36, 2, 0, 1, 0, -95) + bytes(16)
    assert netlink.parse_errors(done + refused) == [0, 95]
    assert netlink.parse_errors(b"") == []
    assert netlink.parse_errors(bytes(100)) == []


def test_a_verdict_names_queue_packet_and_what_becomes_of_it() -> None:
    assert netlink.verdict_message(0x1234, 0x41, netlink.ACCEPT) == (
        struct.pack("<IHHII", 32, 3 << 8 | 1, 1, 1, 0)  # length, verdict to the queue's subsystem, request
        + bytes([2, 0, 0x12, 0x34])  # IPv4, version 0, the queue
        + struct.pack("<HH", 12, 2)  # NFQA_VERDICT_HDR
        + struct.pack(">II", 1, 0x41)
    )


@pytest.mark.parametrize(
    "messages",
    [
        netlink.cut_messages(TABLE),
        netlink.queue_messages(TABLE, 65535),
        netlink.unqueue_messages(TABLE),
        netlink.remove_messages(TABLE),
        netlink.bind_messages(65535),
    ],
    ids=["cut", "queue", "unqueue", "remove", "bind"],
)
def test_messages_are_whole_and_fit_into_one_call(messages: list[bytes]) -> None:
    for message in messages:
        assert len(message) <= CONTENT_BYTES
        position = 0
        while position < len(message):
            length = struct.unpack_from("<I", message, position)[0]
            assert length % 4 == 0
            position += length
        assert position == len(message)


def test_a_table_belongs_to_the_socket_that_makes_it() -> None:
    """What else would remove it where this process is killed?"""
    flags = attribute(2, struct.pack(">I", 2))
    assert flags in netlink.cut_messages(TABLE)[0]
    assert flags in netlink.queue_messages(TABLE, 1)[0]
