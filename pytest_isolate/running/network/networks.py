"""Networks: one for each stack at each place."""

from __future__ import annotations

import hashlib
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from msgspec import Struct

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import AddressSpaceFull
from pytest_isolate.model.service import Scope, describe_variation
from pytest_isolate.planning.placement import Instance, NetworkKey
from pytest_isolate.running.once import Once
from pytest_isolate.running.ownership.domains import SharingDomain

_SMALLEST_ROOM = 13


def room_for(containers: int) -> int:
    """The room of the smallest kind of network that holds so many containers: 13, 29, 61 and so on.

    Networks come in kinds, so that one can take the place of another of its kind.
    """
    room = _SMALLEST_ROOM
    while room < containers:
        room = 2 * room + 3
    return room


class _Key(Struct, frozen=True):
    network: NetworkKey
    is_kept: bool


class _Kind(Struct, frozen=True):
    """Properties that networks share where one may take the other's place."""

    order: tuple[int, ...]
    room: int
    labels: frozenset[tuple[str, str]]


class _Attachment(Struct, frozen=True):
    network_id: str
    container_id: str


class Networks:
    """The networks of this process, with addresses from a range that the user may choose."""

    def __init__(self, engine: Engine, addresses: str, rng: random.Random) -> None:
        self._engine = engine
        self._addresses = addresses
        self._rng = rng
        self._networks: Once[_Key, str] = Once()
        self._attachments: Once[_Attachment, None] = Once()
        self._lock = threading.Lock()
        self._made = 0
        self._kinds: dict[str, _Kind] = {}
        self._unused: dict[_Kind, list[str]] = defaultdict(list)
        self._ahead: dict[_Kind, list[Future[str]]] = defaultdict(list)

    @contextmanager
    def preparing(
        self, instance: Instance, domain: SharingDomain, raise_if_closing: Callable[[], None]
    ) -> Iterator[None]:
        """Make the network of an instance during the block. What goes wrong is told when it is asked for."""
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

    def make_ahead(
        self, instances: Iterable[Instance], domain: SharingDomain, raise_if_closing: Callable[[], None]
    ) -> None:
        """Make the networks that instances of later tests will take, but for those that are free or being made.

        The start of such an instance waits for its network, for up to 0.7 s where the engine starts containers too.
        """
        coming: dict[_Kind, dict[NetworkKey, Instance]] = defaultdict(dict)
        for instance in instances:
            if instance.key.place.node:
                coming[_kind_of(instance, domain)][instance.network] = instance
        for kind, by_network in coming.items():
            with self._lock:
                there = len(self._unused[kind]) + len(self._ahead[kind])
                made = [(instance, Future[str]()) for instance in list(by_network.values())[there:]]
                self._ahead[kind] += [future for _, future in made]
            for instance, future in made:
                try:
                    raise_if_closing()
                    future.set_result(self._make(instance, domain, kind))
                except BaseException as error:  # whoever takes it makes one, and is told what is wrong
                    future.set_exception(error)

    def forget(self, key: NetworkKey) -> Callable[[], None]:
        """Let the next one who asks get another network; what is returned empties this one, for others to take over."""
        network_id = self._networks.pop(_Key(key, is_kept=False))
        attached = [a for a in self._attachments.keys() if a.network_id == network_id]
        for attachment in attached:
            self._attachments.pop(attachment)

        # Emptied and not removed: to make and remove a network takes the engine as long as to start a container.
        def empty() -> None:
            if network_id is None:
                return
            for attachment in attached:
                self._engine.detach(network_id, attachment.container_id)
            with self._lock:
                self._unused[self._kinds[network_id]].append(network_id)

        return empty

    def _agree(self, instance: Instance, domain: SharingDomain, raise_if_closing: Callable[[], None]) -> str:
        if domain.board is None:
            return self._create(instance, domain)
        stack = instance.network.stack
        # A stack that has grown since its network was kept gets one with room for all.
        # Records of kept stacks have always told the room by its bits, as a subnet's prefix.
        prefix = 33 - (room_for(instance.network_capacity) + 3).bit_length()
        name = f"network {stack.namespace} {stack.name} /{prefix}"
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
        kind = _kind_of(instance, domain)
        while True:
            with self._lock:
                if self._unused[kind]:
                    return self._unused[kind].pop()
                if not self._ahead[kind]:
                    break
                coming = self._ahead[kind].pop(0)
            with suppress(Exception):
                return coming.result()
        return self._make(instance, domain, kind)

    def _make(self, instance: Instance, domain: SharingDomain, kind: _Kind) -> str:
        key = instance.network
        with self._lock:
            self._made += 1
            number = f"{self._made}{self._rng.getrandbits(16):04x}"
        name = domain.run.resource_name(str(key.stack), place_code(key), "net", number)
        try:
            network_id = self._engine.create_network(
                name, domain.run.labels(), capacity=kind.room, order=kind.order, addresses=self._addresses
            )
        except AddressSpaceFull as error:
            what = f"no free subnet for the network of stack {key.stack}"
            raise AddressSpaceFull(what, tried=error.tried, found=error.found, do=error.do) from None
        self._kinds[network_id] = kind
        return network_id


def _kind_of(instance: Instance, domain: SharingDomain) -> _Kind:
    order = network_order(instance, is_kept=domain.is_kept)
    return _Kind(order, room_for(instance.network_capacity), frozenset(domain.run.labels().items()))


def network_order(instance: Instance, *, is_kept: bool) -> tuple[int, int, int]:
    """The place of a network among others: what is attached to one comes from one of a smaller order."""
    place = instance.network.place
    tier = 0 if is_kept else 1 + 2 * (Scope.SESSION - place.scope) + bool(place.worker)
    # What a service needs is reached by no change that does not reach the service, so by fewer, or on its own network.
    return tier, instance.stack_depth, len(instance.key.variation)


def place_code(key: NetworkKey, more: str = "") -> str:
    """A short word for a place (and more, where that is given), for names; empty for the run itself."""
    text = key.place.node + describe_variation(key.variation) + more
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:6] if text else ""
