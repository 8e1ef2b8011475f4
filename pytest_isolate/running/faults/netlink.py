"""Messages to Linux' packet filter and its queue of packets, as bytes (nf_tables.h and nfnetlink_queue.h of Linux).

Numbers of netfilter are big-endian, those of netlink around them are the machine's own: all that we run on is little.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from msgspec import Struct

NETLINK, RAW, NETFILTER = 16, 3, 12
IPV4 = 2
ACCEPT, DROP = 1, 0
INPUT, OUTPUT = 1, 3
# The first interface of every network namespace.
_LOOPBACK = 1
_HEAD = struct.Struct("<IHHII")
_FAMILY = struct.Struct(">BBH")
_ATTRIBUTE = struct.Struct("<HH")
_NESTED = 0x8000
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_BATCH_BEGIN, _BATCH_END, _ERROR = 0x10, 0x11, 2
_TABLES, _QUEUE = 10, 3
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE, _DELETE_RULE = 0, 2, 3, 6, 8
# The table goes with the socket that made it: whoever dies leaves no rule behind.
_OWNER = 2
_PACKET, _VERDICT, _CONFIG = 0, 1, 2
_BIND, _COPY_PACKET, _WHOLE_SEGMENTS, _LONGEST = 1, 2, 4, 65535
_IP_HEAD_BYTES = 20


class Packet(Struct, frozen=True):
    """A packet that waits for its verdict."""

    number: int
    size_bytes: int


def cut_messages(table: str) -> list[bytes]:
    """Nothing comes in and nothing goes out, but within the container."""
    changes = [_table(_NEW_TABLE, table)]
    for hook, key in ((INPUT, 4), (OUTPUT, 5)):
        chain = f"hook{hook}"
        changes.append(_chain(table, chain, hook, DROP))
        changes.append(_rule(table, chain, [*_loopback(key, is_met=True), _verdict(ACCEPT)]))
    return _batches(changes)


def queue_messages(table: str, queue: int) -> list[bytes]:
    """Every packet that goes out of the container waits in a queue; without a listener there, it goes on."""
    rule = _rule(table, "out", [*_loopback(5, is_met=False), _to_queue(queue)])
    return _batches([_table(_NEW_TABLE, table), _chain(table, "out", OUTPUT, ACCEPT), rule])


def unqueue_messages(table: str) -> list[bytes]:
    """No packet waits from now on; those that do can still be told to go."""
    names = _attribute(1, _text(table)) + _attribute(2, _text("out"))
    return _batches([(_DELETE_RULE, 0, names)])


def remove_messages(table: str) -> list[bytes]:
    """The table and all in it goes."""
    return _batches([(_DELETE_TABLE, 0, _attribute(1, _text(table)))])


def bind_messages(queue: int) -> list[bytes]:
    """From now on the packets of this queue come to the socket that asks: the first bytes of each."""
    command = _attribute(1, struct.pack(">BxH", _BIND, IPV4))
    settings = _attribute(2, struct.pack(">IB", _IP_HEAD_BYTES, _COPY_PACKET))
    settings += _attribute(3, struct.pack(">I", _LONGEST))
    settings += _attribute(4, struct.pack(">I", _WHOLE_SEGMENTS)) + _attribute(5, struct.pack(">I", _WHOLE_SEGMENTS))
    return [_message(_QUEUE, _CONFIG, _REQUEST | _ACK, content, resource=queue) for content in (command, settings)]


def verdict_message(queue: int, number: int, verdict: int) -> bytes:
    """Build the decision on a packet."""
    content = _attribute(2, struct.pack(">II", verdict, number))
    return _message(_QUEUE, _VERDICT, _REQUEST, content, resource=queue)


def parse_packet(message: bytes) -> Packet | None:
    """The packet that a message tells of; None where it tells of something else."""
    length, kind, *_ = _HEAD.unpack_from(message)
    if kind != (_QUEUE << 8 | _PACKET):
        return None
    parts = dict(_attributes(message[_HEAD.size + _FAMILY.size : length]))
    number = struct.unpack_from(">I", parts[1])[0]
    size = struct.unpack_from(">I", parts[13])[0] if 13 in parts else len(parts.get(10, b""))
    return Packet(number=number, size_bytes=size)


def parse_errors(message: bytes) -> list[int]:
    """The numbers of the errors that acknowledgements tell, 0 for what was done."""
    errors, position = [], 0
    while position + _HEAD.size <= len(message):
        length, kind, *_ = _HEAD.unpack_from(message, position)
        if length < _HEAD.size:
            break
        if kind == _ERROR:
            errors.append(-struct.unpack_from("<i", message, position + _HEAD.size)[0])
        position += (length + 3) // 4 * 4
    return errors


_Change = tuple[int, int, bytes]


def _batches(changes: Sequence[_Change]) -> list[bytes]:
    """Each change by itself, because together they are longer than what fits into one call."""
    return [
        _message(0, _BATCH_BEGIN, _REQUEST, b"", resource=_TABLES, family=0)
        + _message(_TABLES, kind, _REQUEST | _ACK | flags, content)
        + _message(0, _BATCH_END, _REQUEST, b"", resource=_TABLES, family=0)
        for kind, flags, content in changes
    ]


def _table(kind: int, name: str) -> _Change:
    return kind, _CREATE, _attribute(1, _text(name)) + _attribute(2, struct.pack(">I", _OWNER))


def _chain(table: str, name: str, hook: int, policy: int) -> _Change:
    place = _attribute(1, struct.pack(">I", hook)) + _attribute(2, struct.pack(">i", 0))
    content = _attribute(1, _text(table)) + _attribute(3, _text(name)) + _attribute(4 | _NESTED, place)
    content += _attribute(5, struct.pack(">I", policy)) + _attribute(7, _text("filter"))
    return _NEW_CHAIN, _CREATE, content


def _rule(table: str, chain: str, expressions: Sequence[bytes]) -> _Change:
    listed = b"".join(_attribute(1 | _NESTED, expression) for expression in expressions)
    content = _attribute(1, _text(table)) + _attribute(2, _text(chain)) + _attribute(4 | _NESTED, listed)
    return _NEW_RULE, _CREATE | _APPEND, content


def _loopback(key: int, *, is_met: bool) -> list[bytes]:
    """Only for packets that come from (key 4) or go to (key 5) the container itself, or only for all others."""
    load = _attribute(1, struct.pack(">I", 1)) + _attribute(2, struct.pack(">I", key))
    value = _attribute(1, struct.pack("<I", _LOOPBACK))
    compare = _attribute(1, struct.pack(">I", 1)) + _attribute(2, struct.pack(">I", 0 if is_met else 1))
    return [_expression("meta", load), _expression("cmp", compare + _attribute(3 | _NESTED, value))]


def _verdict(verdict: int) -> bytes:
    code = _attribute(2 | _NESTED, _attribute(1, struct.pack(">I", verdict)))
    return _expression("immediate", _attribute(1, struct.pack(">I", 0)) + _attribute(2 | _NESTED, code))


def _to_queue(queue: int) -> bytes:
    """As iptables' NFQUEUE with --queue-bypass does. nf_tables has an expression of its own, but not in all kernels."""
    settings = struct.pack("<HHHxx", queue, 1, 1)
    target = _attribute(1, _text("NFQUEUE")) + _attribute(2, struct.pack(">I", 3)) + _attribute(3, settings)
    return _expression("target", target)


def _expression(name: str, settings: bytes) -> bytes:
    return _attribute(1, _text(name)) + _attribute(2 | _NESTED, settings)


def _message(subsystem: int, kind: int, flags: int, content: bytes, *, resource: int = 0, family: int = IPV4) -> bytes:
    body = _FAMILY.pack(family, 0, resource) + content
    return _HEAD.pack(_HEAD.size + len(body), subsystem << 8 | kind, flags, 1, 0) + body


def _attribute(kind: int, content: bytes) -> bytes:
    padding = bytes(-len(content) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content + padding


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _ATTRIBUTE.size <= len(content):
        length, kind = _ATTRIBUTE.unpack_from(content, position)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, content[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) // 4 * 4


def _text(text: str) -> bytes:
    return text.encode() + b"\0"
