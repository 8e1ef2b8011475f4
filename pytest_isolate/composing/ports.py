"""The keys `ports` and `expose`: only what is inside the container counts."""

from __future__ import annotations

from pytest_isolate.composing.findings import keys
from pytest_isolate.composing.nodes import Node, Refused, cannot, items_of, table_of, text_of, whole_number_of
from pytest_isolate.composing.surroundings import Surroundings

_PORT_KEYS = keys("name mode host_ip target published protocol app_protocol")


def translate_ports(around: Surroundings) -> dict[str, object]:
    """The ports inside, in their order: of the side of the host nothing is taken."""
    ports: dict[int, None] = {}
    published, exposed = around.node.get("ports"), around.node.get("expose")
    for item in items_of(published) if published is not None else ():
        with around.findings.catching():
            ports |= dict.fromkeys(_published(item, around))
    for item in items_of(exposed) if exposed is not None else ():
        with around.findings.catching():
            ports |= dict.fromkeys(_exposed(item))
    return {"ports": list(ports)}


def _published(item: Node, around: Surroundings) -> list[int]:
    around.findings.check_keys(table_of(item), _PORT_KEYS)
    protocol = item.get("protocol")
    target = item.get("target")
    if target is None:
        raise Refused(item, "names no port of the container", "target: PORT")
    return [_port(target, target, text_of(protocol) if protocol is not None else "tcp")]


def _exposed(item: Node) -> list[int]:
    text, _, protocol = text_of(item).partition("/")
    first, _, last = text.partition("-")
    begin, end = (_port(item.holding(word), item, protocol or "tcp") for word in (first, last or first))
    return list(range(begin, end + 1))


def _port(number: Node, place: Node, protocol: str) -> int:
    port = whole_number_of(number)
    if not 1 <= port <= 65535:
        raise Refused(place, f"{port} is not a port", "a whole number from 1 to 65535")
    if protocol.lower() != "tcp":
        raise cannot(place, f"tests reach ports of TCP only, not of {protocol}; other services reach it all the same")
    return port
