"""Networks: one for each stack at each place, with a small subnet of its own."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import AddressSpaceFull, SubnetTaken
from pytest_isolate.planning.placement import NetworkKey
from pytest_isolate.running.grounds import Ground, Grounds
from pytest_isolate.running.once import Once
from pytest_isolate.running.subnets import free_subnets, prefix_for

# Overlaps with the host's own routes are found out only by trying; a pool where this many fail in a row is no use.
_TRIES = 50


@dataclass(frozen=True, slots=True)
class _Attachment:
    network: NetworkKey
    container_id: str


class Networks:
    """The networks of this process."""

    def __init__(self, engine: Engine, grounds: Grounds, pool: str, rng: random.Random) -> None:
        self._engine = engine
        self._grounds = grounds
        self._pool = pool
        self._rng = rng
        self._networks: Once[NetworkKey, str] = Once()
        self._attachments: Once[_Attachment, None] = Once()
        self._choosing = threading.Lock()
        self._made = 0

    def ensure(self, key: NetworkKey, containers: int, check_open: Callable[[], None]) -> str:
        """The id of the network, made with room for so many containers if it is not there."""
        return self._networks.get(key, lambda: self._agree(key, containers, check_open))

    def attach(self, key: NetworkKey, network_id: str, container_id: str, alias: str) -> None:
        """Make a container of another network known on this one, once."""
        attachment = _Attachment(key, container_id)
        self._attachments.get(attachment, lambda: self._engine.attach(network_id, container_id, [alias]))

    def forget(self, key: NetworkKey) -> Callable[[], None]:
        """Let the next one who asks make a new network; what is returned removes this one."""
        network_id = self._networks.pop(key)
        attached = [a for a in self._attachments.keys() if a.network == key]
        for attachment in attached:
            self._attachments.pop(attachment)

        def remove() -> None:
            if network_id is None:
                return
            for attachment in attached:
                self._engine.detach(network_id, attachment.container_id)
            self._engine.remove_network(network_id)

        return remove

    def _agree(self, key: NetworkKey, containers: int, check_open: Callable[[], None]) -> str:
        """Make a shared network in one process only; the others find it on the board."""
        ground = self._grounds.of(key.place)
        if ground.board is None:
            return self._create(key, containers, ground)
        name = f"network {key.stack.namespace} {key.stack.name}"
        with ground.board.claim(name, check_open):
            record = ground.board.read(name)
            if record and (not ground.is_kept or record["id"] in self._engine.list_networks(ground.run.own_labels())):
                return str(record["id"])
            ground.board.begin(name)
            network_id = self._create(key, containers, ground)
            ground.board.publish(name, {"id": network_id})
            return network_id

    def _create(self, key: NetworkKey, containers: int, ground: Ground) -> str:
        prefix = prefix_for(containers)
        refusals: Sequence[str] = ()
        # One at a time: two threads would be given the same free subnet.
        with self._choosing:
            self._made += 1
            number = f"{self._made}{self._grounds.private.run.worker}"
            name = ground.run.resource_name(str(key.stack), place_code(key), "net", number)
            labels = ground.run.labels()
            candidates = free_subnets(self._pool, self._engine.used_subnets(), prefix, self._rng)
            for _, subnet in zip(range(_TRIES), candidates, strict=False):
                try:
                    return self._engine.create_network(name, subnet, labels)
                except SubnetTaken as error:
                    refusals = (*refusals, f"{subnet}: {' '.join(error.found)}")
        raise AddressSpaceFull(
            f"no free subnet for the network of stack {key.stack}",
            tried=f"a /{prefix} in {self._pool}",
            found=refusals[-3:] or "every one is in use, or the pool is smaller than that",
            do="name a larger or another pool: --isolate-subnets=10.200.0.0/16; "
            "networks of runs that were killed: docker network ls --filter label=pytest-isolate.run",
        )


def place_code(key: NetworkKey, more: str = "") -> str:
    """A short word for a place (and more, where that is given), for names; empty for the run itself."""
    text = key.place.node + more
    return hashlib.sha256(text.encode()).hexdigest()[:6] if text else ""
