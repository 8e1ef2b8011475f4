"""Networks: one for each stack at each place, with a small subnet of its own."""

from __future__ import annotations

import hashlib
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network, ip_network

from msgspec import Struct

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import AddressSpaceFull, SubnetTaken
from pytest_isolate.model.scope import Scope
from pytest_isolate.model.service import describe_variation
from pytest_isolate.planning.placement import Instance, NetworkKey
from pytest_isolate.running.once import Once
from pytest_isolate.running.ownership.domains import SharingDomain

DEFAULT_POOL = "10.189.0.0/16"
# Gateway, network and broadcast address, and room for what is attached from other stacks.
_RESERVED_ADDRESSES = 3
_SMALLEST = 28


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


# Overlaps with the host's own routes are found out only by trying; a pool where this many fail in a row is no use.
_TRIES = 50


class _Key(Struct, frozen=True):
    network: NetworkKey
    is_kept: bool


class _Kind(Struct, frozen=True):
    """What networks have to have in common for one to take the other's place."""

    order: str
    prefix: int
    labels: frozenset[tuple[str, str]]


class _Attachment(Struct, frozen=True):
    network_id: str
    container_id: str


class Networks:
    """The networks of this process."""

    def __init__(self, engine: Engine, pool: str, rng: random.Random) -> None:
        self._engine = engine
        self._pool = pool
        self._rng = rng
        self._networks: Once[_Key, str] = Once()
        self._attachments: Once[_Attachment, None] = Once()
        self._choosing = threading.Lock()
        self._made = 0
        self._kinds: dict[str, _Kind] = {}
        self._unused: dict[_Kind, list[str]] = defaultdict(list)

    @contextmanager
    def preparing(
        self, instance: Instance, domain: SharingDomain, raise_if_closing: Callable[[], None]
    ) -> Iterator[None]:
        """Make the network of an instance during the block. What goes wrong is told to whoever asks for it."""
        if instance.key.place.node:
            yield  # a place takes away with its instances what these asked for, and no more
            return

        def make() -> None:
            with suppress(Exception):
                self.ensure(instance, domain, raise_if_closing)

        thread = threading.Thread(target=make, name="isolate-network", daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def ensure(self, instance: Instance, domain: SharingDomain, raise_if_closing: Callable[[], None]) -> str:
        """The id of the network that an instance lives on, made if it is not there."""
        key = _Key(instance.network, domain.is_kept)
        return self._networks.get(key, lambda: self._agree(instance, domain, raise_if_closing))

    def attach(self, network_id: str, container_id: str, aliases: Sequence[str]) -> None:
        """Make a container of another network known on this one, once."""
        attachment = _Attachment(network_id, container_id)
        self._attachments.get(attachment, lambda: self._engine.attach(network_id, container_id, aliases))

    def forget(self, key: NetworkKey) -> Callable[[], None]:
        """Let the next one who asks get another network; what is returned empties this one, for others to take over.

        Making and removing a network takes the engine as long as starting a container.
        """
        network_id = self._networks.pop(_Key(key, is_kept=False))
        attached = [a for a in self._attachments.keys() if a.network_id == network_id]
        for attachment in attached:
            self._attachments.pop(attachment)

        def empty() -> None:
            if network_id is None:
                return
            for attachment in attached:
                self._engine.detach(network_id, attachment.container_id)
            with self._choosing:
                self._unused[self._kinds[network_id]].append(network_id)

        return empty

    def _agree(self, instance: Instance, domain: SharingDomain, raise_if_closing: Callable[[], None]) -> str:
        """Make a shared network in one process only; the others find it on the board."""
        if domain.board is None:
            return self._create(instance, domain)
        stack = instance.network.stack
        # A stack that has grown since its network was kept gets one with room for all.
        name = f"network {stack.namespace} {stack.name} /{prefix_for(instance.network_capacity)}"
        name += describe_variation(instance.key.variation)
        with domain.board.claim(name, raise_if_closing):
            record = domain.board.read(name)
            if record and (not domain.is_kept or record["id"] in self._engine.list_networks(domain.run.own_labels())):
                return str(record["id"])
            domain.board.mark_started(name)
            network_id = self._create(instance, domain)
            domain.board.publish(name, {"id": network_id})
            return network_id

    def _create(self, instance: Instance, domain: SharingDomain) -> str:
        key, prefix = instance.network, prefix_for(instance.network_capacity)
        refusals: Sequence[str] = ()
        # One at a time: two threads would be given the same free subnet.
        with self._choosing:
            self._made += 1
            number = f"{self._made}{self._rng.getrandbits(16):04x}"
            order = network_order(instance, is_kept=domain.is_kept)
            name = domain.run.resource_name(str(key.stack), place_code(key), "net", number, order=order)
            labels = domain.run.labels()
            kind = _Kind(order, prefix, frozenset(labels.items()))
            if self._unused[kind]:
                return self._unused[kind].pop()
            candidates = free_subnets(self._pool, self._engine.used_subnets(), prefix, self._rng)
            for _, subnet in zip(range(_TRIES), candidates, strict=False):
                try:
                    network_id = self._engine.create_network(name, subnet, labels)
                    self._kinds[network_id] = kind
                    return network_id
                except SubnetTaken as error:
                    refusals = (*refusals, f"{subnet}: {' '.join(error.found)}")
        raise AddressSpaceFull(
            f"no free subnet for the network of stack {key.stack}",
            tried=f"a /{prefix} in {self._pool}",
            found=refusals[-3:] or "every one is in use, or the pool is smaller than that",
            do="name a larger or another pool: --isolate-subnets=10.200.0.0/16; "
            "networks of runs that were killed: docker network ls --filter label=pytest-isolate.run",
        )


def network_order(instance: Instance, *, is_kept: bool) -> str:
    """A text by which the names of networks sort: what is attached to a network comes from one that sorts before.

    Docker moves a container's published ports to the first of its networks by name, and cuts every connection through
    them when it does: seen with 20.10, whose port forwarder was started anew when a network with a smaller name was
    attached, and went on when one with a greater name was.
    """
    place = instance.network.place
    tier = 0 if is_kept else 1 + 2 * (Scope.SESSION - place.scope) + bool(place.worker)
    # What a service needs is reached by no change that does not reach the service, so by fewer, or on its own network.
    return f"{tier:02d}{instance.stack_depth:03d}{len(instance.key.variation):02d}"


def place_code(key: NetworkKey, more: str = "") -> str:
    """A short word for a place (and more, where that is given), for names; empty for the run itself."""
    text = key.place.node + describe_variation(key.variation) + more
    return hashlib.sha256(text.encode()).hexdigest()[:6] if text else ""
