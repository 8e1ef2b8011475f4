"""Networks: a stack has one, on which its services go by all their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    flag_of,
    items_of,
    table_of,
    text_of,
    unsupported,
    whole_number_of,
    words_of,
)

# What `app_protocol` may say that is the beginning of a url, too.
_IN_URLS = ("http", "https")
_PORT_KEYS = keys("name mode host_ip target published protocol app_protocol")


def translate_ports(around: ServiceContext) -> dict[str, object]:
    """The ports inside, in their order, and a url where the first says so: of the side of the host nothing is taken."""
    ports: dict[int, str] = {}
    published, exposed = around.node.get("ports"), around.node.get("expose")
    for item in items_of(published) if published is not None else ():
        with around.findings.collecting():
            port, protocol = _published(item, around)
            ports.setdefault(port, protocol)
    for item in items_of(exposed) if exposed is not None else ():
        with around.findings.collecting():
            ports |= dict.fromkeys((port for port in _exposed(item) if port not in ports), "")
    protocol = next(iter(ports.values()), "")
    url = {"url": protocol + "://{host}:{port}"} if protocol in _IN_URLS else {}
    return {"ports": list(ports), **url}


def _published(item: Node, around: ServiceContext) -> tuple[int, str]:
    """A port, and what is spoken there, as far as the file says it."""
    around.findings.check_keys(table_of(item), _PORT_KEYS)
    protocol = item.get("protocol")
    target = item.get("target")
    if target is None:
        raise NodeError(item, "names no port of the container", "target: PORT")
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
        raise NodeError(place, f"{port} is not a port", "a whole number from 1 to 65535")
    if protocol.lower() != "tcp":
        raise unsupported(
            place, f"tests reach ports of TCP only, not of {protocol}; other services reach it all the same"
        )
    return port


_MEMBER_KEYS = keys(
    "aliases interface_name ipv4_address ipv6_address link_local_ips mac_address driver_opts gw_priority priority"
)
_ADDRESSES = ("ipv4_address", "ipv6_address", "link_local_ips", "mac_address", "driver_opts", "interface_name")
_NETWORK_KEYS = keys("name driver driver_opts ipam external internal enable_ipv4 enable_ipv6 attachable labels")


def translate_names(around: ServiceContext) -> dict[str, object]:
    """What a service is found by beside its name in the stack: its names in the file, on each network, and in links."""
    names = dict.fromkeys([around.name, *_own_names(around.node, around), *_linked_names(around)])
    return {"container": {"aliases": list(names)}}


def _own_names(node: Node, around: ServiceContext) -> Iterable[str]:
    container_name, networks = node.get("container_name"), node.get("networks")
    if container_name is not None:
        yield text_of(container_name)
    joined = table_of(networks) if networks is not None else {}
    for name, entry in (joined or {"default": Node(None, node.location, node.path)}).items():
        with around.findings.collecting():
            yield from _names_on(name, entry, around)


def _names_on(name: str, entry: Node, around: ServiceContext) -> Iterable[str]:
    if name != "default" or name in around.project.section("networks"):
        check_network(around.declared("networks", name, entry), around)
    around.findings.check_keys(table_of(entry), _MEMBER_KEYS)
    for key in _ADDRESSES:
        found = entry.get(key)
        if found is not None:
            around.findings.add(
                unsupported(found, "addresses are given by the engine, so that stacks fit side by side")
            )
    aliases = entry.get("aliases")
    return words_of(aliases) if aliases is not None else ()


def _linked_names(around: ServiceContext) -> Iterable[str]:
    """The names that others give to this service. Nobody is kept from using what somebody has given."""
    for other in around.services.values():
        links = other.get("links")
        for item in items_of(links) if links is not None else ():
            name, _, alias = text_of(item).partition(":")
            if name == around.name and alias:
                yield alias


def check_network(entry: Node, around: ServiceContext) -> None:
    """Refuse what a network is told that a stack's one network cannot do."""
    around.findings.check_keys(table_of(entry), _NETWORK_KEYS)
    external, driver = entry.get("external"), entry.get("driver")
    if external is not None and (isinstance(external.value, Mapping) or flag_of(external)):
        raise unsupported(external, "a stack has a network of its own, on which nobody else's services are")
    if driver is not None and text_of(driver) not in ("bridge", "default"):
        raise unsupported(driver, f"the network driver {driver.value!r}; a stack has one bridge")
    for key, reason in (
        ("internal", "a stack's network leads outside"),
        ("enable_ipv6", "a stack's network has IPv4 only"),
    ):
        found = entry.get(key)
        if found is not None and flag_of(found):
            raise unsupported(found, reason)
    options = entry.get("driver_opts")
    if options is not None and options.value:
        raise unsupported(options, "options of a network's driver")


def translate_network_mode(node: Node, _: ServiceContext) -> dict[str, object]:
    """Only the one kind of network that keeps stacks apart."""
    mode = text_of(node)
    if mode in ("default", "bridge"):
        return {}
    if mode.partition(":")[0] not in ("host", "none", "service", "container"):
        raise NodeError(node, f"{mode!r} is not a network mode", "bridge")
    raise unsupported(node, f"the network mode {mode!r}: every service is on its stack's own network, and nowhere else")
