"""The keys `ports` and `expose`: only what is inside the container counts."""

from __future__ import annotations

from pytest_isolate.compose.findings import keys
from pytest_isolate.compose.nodes import Node, Refused, cannot, items_of, table_of, text_of, whole_number_of
from pytest_isolate.compose.context import Surroundings

# What `app_protocol` may say that is the beginning of a url, too.
_IN_URLS = ("http", "https")
_PORT_KEYS = keys("name mode host_ip target published protocol app_protocol")


def translate_ports(around: Surroundings) -> dict[str, object]:
    """The ports inside, in their order, and a url where the first says so: of the side of the host nothing is taken."""
    ports: dict[int, str] = {}
    published, exposed = around.node.get("ports"), around.node.get("expose")
    for item in items_of(published) if published is not None else ():
        with around.findings.catching():
            port, protocol = _published(item, around)
            ports.setdefault(port, protocol)
    for item in items_of(exposed) if exposed is not None else ():
        with around.findings.catching():
            ports |= dict.fromkeys((port for port in _exposed(item) if port not in ports), "")
    protocol = next(iter(ports.values()), "")
    url = {"url": protocol + "://{host}:{port}"} if protocol in _IN_URLS else {}
    return {"ports": list(ports), **url}


def _published(item: Node, around: Surroundings) -> tuple[int, str]:
    """A port, and what is spoken there, as far as the file says it."""
    around.findings.check_keys(table_of(item), _PORT_KEYS)
    protocol = item.get("protocol")
    target = item.get("target")
    if target is None:
        raise Refused(item, "names no port of the container", "target: PORT")
    spoken = item.get("app_protocol")
    port = _port(target, target, text_of(protocol) if protocol is not None else "tcp")
    return port, text_of(spoken) if spoken is not None else ""


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
