"""Networks on a Docker engine: bridges, each with a small subnet of its own from a pool of ours.

Docker's own pools end at about 30 networks; small explicit subnets leave room for hundreds of stacks.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, ip_network
from urllib.parse import quote

from pytest_isolate.engine.api import DEFAULT_SUBNETS
from pytest_isolate.engine.docker.refusals import is_attached
from pytest_isolate.engine.docker.remover import Remover
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.docker.wire import network_subnets
from pytest_isolate.errors import AddressSpaceFull, EngineError, ObjectNotFound, SubnetTaken

# Gateway, network and broadcast address.
_RESERVED_ADDRESSES = 3
_SMALLEST = 28
# Overlaps with the host's own routes are found out only by trying; a pool where this many fail in a row is no use.
_TRIES = 50


class NetworkApi(Remover):
    """The part of the engine that makes networks and attaches containers to them."""

    def __init__(self, client: Http) -> None:
        super().__init__(client)
        self._choosing = threading.Lock()
        self._rng = random.Random()

    def host_address(self) -> str:
        try:
            found = self._http.ask("the engine's bridge could not be inspected", "GET", "/networks/bridge").json()
        except ObjectNotFound:
            return ""
        return bridge_gateway((found.get("IPAM") or {}).get("Config") or ())

    def used_subnets(self) -> Sequence[str]:
        """The subnets of every network on the engine, ours or not."""
        return [subnet for network in self._list_networks({}) for subnet in network_subnets(network)]

    def create_network(
        self,
        name: str,
        labels: Mapping[str, str],
        *,
        capacity: int = 1,
        order: Sequence[int] = (),
        addresses: str = DEFAULT_SUBNETS,
    ) -> str:
        name, prefix = ordered_name(name, order), prefix_for(capacity)

        def create(subnet: str) -> str:
            ipam = {"Driver": "default", "Config": [{"Subnet": subnet}]}
            body = {"Name": name, "Driver": "bridge", "IPAM": ipam, "Labels": dict(labels)}
            made = self._http.ask(f"network {name} ({subnet}) could not be made", "POST", "/networks/create", body=body)
            return str(made.json()["Id"])

        # One at a time: two threads would be given the same free subnet.
        with self._choosing:
            subnets = free_subnets(addresses, self.used_subnets(), prefix, self._rng)
            return create_on_one_of(subnets, create, f"a /{prefix} in {addresses}", self.commands.list_networks())

    def attach(self, network_id: str, container_id: str, aliases: Sequence[str]) -> None:
        what = "a container could not be attached to a network"
        body = {"Container": container_id, "EndpointConfig": {"Aliases": list(aliases)}}
        try:
            self._http.ask(what, "POST", f"/networks/{quote(network_id)}/connect", body=body)
        except EngineError as error:
            if not is_attached(str(error)):
                raise


def ordered_name(name: str, order: Sequence[int]) -> str:
    """A name by which networks sort in this order.

    Docker moves a container's published ports to the first of its networks by name, and cuts every connection through
    them when it does: seen with 20.10, whose port forwarder was started anew when a network with a smaller name was
    attached, and went on when one with a greater name was.
    """
    first, _, rest = name.partition("-")
    digits = "".join(f"{number:0{width}d}" for number, width in zip(order, (2, 3, 2), strict=False))
    return "-".join(filter(None, (first, digits, rest)))


def create_on_one_of(subnets: Iterator[str], create: Callable[[str], str], wanted: str, list_command: str) -> str:
    """The id of a network on the first of these subnets that the engine does not refuse."""
    refusals: list[str] = []
    for _, subnet in zip(range(_TRIES), subnets, strict=False):
        try:
            return create(subnet)
        except SubnetTaken as error:
            refusals.append(f"{subnet}: {' '.join(error.found)}")
    raise AddressSpaceFull(
        "no free subnet for a network",
        tried=wanted,
        found=refusals[-3:] or "every one is in use, or the pool is smaller than that",
        do="name a larger or another pool: --isolate-subnets=10.200.0.0/16; "
        f"networks of runs that were killed: {list_command}",
    )


def prefix_for(containers: int) -> int:
    """The prefix length of the smallest subnet (never below a /28) that holds so many containers."""
    prefix = _SMALLEST
    while 2 ** (32 - prefix) - _RESERVED_ADDRESSES < containers:
        prefix -= 1
    return prefix


def free_subnets(pool: str, used: Iterable[str], prefix: int, rng: random.Random) -> Iterator[str]:
    """Subnets of the pool that overlap with nothing in use, from a random one on so that runs rarely meet."""
    whole = IPv4Network(pool)
    if prefix < whole.prefixlen:
        return
    taken = [n for text in used if (n := ip_network(text, strict=False)).version == 4 and n.overlaps(whole)]
    count = 2 ** (prefix - whole.prefixlen)
    size = 2 ** (32 - prefix)
    first = rng.randrange(count)
    for number in range(count):
        address = int(whole.network_address) + (first + number) % count * size
        subnet = IPv4Network((address, prefix))
        if not any(subnet.overlaps(other) for other in taken):
            yield str(subnet)


def bridge_gateway(configs: Sequence[Mapping[str, str]]) -> str:
    """Return the gateway of the default bridge; empty where it has no subnet.

    Docker 20.10 leaves the gateway out between the daemon's very first start and its second. It is the first address
    of the subnet then, as Docker's documentation of networks has it.
    """
    for config in configs:
        if config.get("Gateway") or config.get("Subnet"):
            return config.get("Gateway") or str(ip_network(config["Subnet"])[1])
    return ""
