"""Networks and ports: a stack has one network, on which its services go by all their names."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    entries_of,
    flag_of,
    is_external,
    table_of,
    text_of,
    whole_number_of,
    words_of,
)
from pytest_isolate.compose_files.rights import HOST_NETWORK
from pytest_isolate.model.endpoint import Port, name_port
from pytest_isolate.model.service import OF_SERVICE

# What `app_protocol` may say that is the beginning of a url, too.
_IN_URLS = ("http", "https")
_PORT_KEYS = keys("name mode host_ip target published protocol app_protocol")
_REACHED = ("tcp", "udp")
_PROTOCOLS = (*_REACHED, "sctp")


def translate_ports(around: ServiceContext) -> dict[str, object]:
    """Collect the ports inside, in their order, and a url where the first says so. The host's side is left out."""
    ports = _published(around)
    for item in entries_of(around.node, "expose"):
        with around.findings.collecting():
            ports |= dict.fromkeys((port for port in _exposed(item, around) if port not in ports), "")
    protocol = next((spoken for port, spoken in ports.items() if isinstance(port, int)), "")
    url = {"url": protocol + "://{host}:{port}"} if protocol in _IN_URLS else {}
    return {"ports": list(ports), **url}


def published_ports(around: ServiceContext) -> dict[int, str]:
    """Return the ports of TCP that are published, each with what is spoken there as far as the file says it."""
    return {port: spoken for port, spoken in _published(around).items() if isinstance(port, int)}


def _published(around: ServiceContext) -> dict[Port, str]:
    ports: dict[Port, str] = {}
    for item in entries_of(around.node, "ports"):
        with around.findings.collecting():
            around.findings.check_keys(table_of(item), _PORT_KEYS)
            target, spoken, protocol = (item.get(key) for key in ("target", "app_protocol", "protocol"))
            if target is None:
                raise NodeError(item, "names no port of the container", "target: PORT")
            port = _port(target, target)
            for one in _that_tests_reach([port], text_of(protocol) if protocol is not None else "tcp", target, around):
                ports.setdefault(one, text_of(spoken) if spoken is not None else "")
    return ports


def _exposed(item: Node, around: ServiceContext) -> list[Port]:
    text, _, protocol = text_of(item).partition("/")
    first, _, last = text.partition("-")
    begin, end = (_port(item.holding(word), item) for word in (first, last or first))
    return _that_tests_reach(range(begin, end + 1), protocol or "tcp", item, around)


def _port(number: Node, place: Node) -> int:
    port = whole_number_of(number)
    if not 1 <= port <= 65535:
        raise NodeError(place, f"{port} is not a port", "a whole number from 1 to 65535")
    return port


def _that_tests_reach(numbers: Iterable[int], protocol: str, place: Node, around: ServiceContext) -> list[Port]:
    if protocol.lower() not in _PROTOCOLS:
        raise NodeError(place, f"{protocol!r} is not a protocol of ports", ", ".join(_PROTOCOLS))
    if protocol.lower() in _REACHED:
        return [name_port(number, protocol.lower()) for number in numbers]
    around.findings.note(
        place, f"a port of {protocol} is not published: tests reach ports of TCP and UDP, and other services reach all"
    )
    return []


_MEMBER_KEYS = keys(
    "aliases interface_name ipv4_address ipv6_address link_local_ips mac_address driver_opts gw_priority priority"
)
_ADDRESSES = ("ipv4_address", "ipv6_address", "link_local_ips", "mac_address", "driver_opts", "interface_name")
_NETWORK_KEYS = keys("name driver driver_opts ipam external internal enable_ipv4 enable_ipv6 attachable labels")


def translate_names(around: ServiceContext) -> dict[str, object]:
    """Collect what a service is found by: its names in the file, on each network, and in links."""
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
        note_network(around.declared("networks", name, entry), around)
    around.findings.check_keys(table_of(entry), _MEMBER_KEYS)
    for key in _ADDRESSES:
        found = entry.get(key)
        if found is not None:
            reason = f"the engine gives addresses, so that stacks fit side by side; use the name {around.name!r}"
            around.findings.note(found, f"is left out: {reason}")
    aliases = entry.get("aliases")
    return words_of(aliases) if aliases is not None else ()


def _linked_names(around: ServiceContext) -> Iterable[str]:
    """Find the names that others give to this service. On one network they are everybody's."""
    for other in around.services.values():
        for item in entries_of(other, "links"):
            name, _, alias = text_of(item).partition(":")
            if name == around.name and alias:
                yield alias


def note_network(entry: Node, around: ServiceContext) -> None:
    """Note what a network is told that differs from a stack's one network."""
    findings = around.findings
    findings.check_keys(table_of(entry), _NETWORK_KEYS)
    driver, options = entry.get("driver"), entry.get("driver_opts")
    if is_external(entry):
        findings.note(entry, "an external network: the stack has its own, and services of others are not on it")
    if driver is not None and text_of(driver) not in ("bridge", "default"):
        findings.note(driver, f"the network driver {driver.value!r} is left out: a stack has one bridge")
    for key, reason in (
        ("internal", "is left out: a stack's network leads outside"),
        ("enable_ipv6", "is left out: a stack's network has IPv4 only"),
    ):
        found = entry.get(key)
        if found is not None and flag_of(found):
            findings.note(found, reason)
    if options is not None and options.value:
        findings.note(options, "are left out: options of a network's driver")


def translate_network_mode(node: Node, around: ServiceContext) -> dict[str, object]:
    """Translate the network of a service: the stack's, that of another service, or by permission the host's."""
    mode = text_of(node)
    kind, _, name = mode.partition(":")
    if mode in ("default", "bridge"):
        return {}
    if mode == "none":
        around.findings.note(node, "is left out: every service is on its stack's network")
        return {}
    if kind in ("service", "container") and name:
        member = around.neighbour(mode, node)
        return {"container": {"network": f"{OF_SERVICE}{member}"}, "needs": [member]}
    if mode != "host":
        raise NodeError(node, f"{mode!r} is not a network mode", "bridge, none, service:NAME, host")
    reason = "the network mode 'host': its ports are those of the host, and other services do not find it by its name"
    around.require(HOST_NETWORK, node, reason)
    return {"container": {"network": "host"}}
