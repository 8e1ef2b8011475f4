"""Host address and ports that an instance is published on."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping
from typing import cast

from msgspec.structs import replace

from pytest_isolate.engine.api import (
    LOOPBACK,
    Capability,
    Engine,
    EngineFacts,
    GivingAddresses,
    HavingAddresses,
    PublishAddress,
    require,
)
from pytest_isolate.errors import EngineError, StartError
from pytest_isolate.model.endpoint import Port, split_port
from pytest_isolate.model.service import StackId
from pytest_isolate.planning.placement import Instance, NetworkKey
from pytest_isolate.running.network.ports import (
    HeldPorts,
    claim_free_ports,
    claim_loopback_address,
    hold_free_ports,
    hold_known_ports,
    hold_native_ports,
    pick_ports,
    pick_udp_ports,
)
from pytest_isolate.running.once import Once
from pytest_isolate.sharing.folders import claimed_ports_folder

EVERYWHERE = "0.0.0.0"  # noqa: S104  # published on, and compared; nothing here listens on it
LOCAL = PublishAddress()
HELD_INSTEAD = "use ports='held' for the stack, or an engine on this host"


def choose_publish_address(facts: EngineFacts, bind: str = "", host: str = "") -> PublishAddress:
    """Choose the address of published ports; `bind` and `host` are the user's options, empty where not given.

    EngineError where there is none: an address that is not one of this host, or an engine whose host is not known.
    """
    if facts.is_local:
        publish_on = check_bind_ip(bind or LOOPBACK)
        reached = LOOPBACK if publish_on == EVERYWHERE else publish_on
        return PublishAddress(host=host or reached, publish_on=publish_on, is_forwarded=facts.is_forwarded)
    named = bind if bind != EVERYWHERE else ""
    reached = host or named or facts.host
    if not reached:
        raise EngineError(
            "tests cannot reach the ports that the engine publishes",
            tried="the address of the engine's host in the network of the container that pytest runs in",
            found="it has none there",
            do="say where they answer: --isolate-host=ADDRESS, or give the container a network",
        )
    return PublishAddress(host=reached, publish_on=bind or (EVERYWHERE if host else facts.publish_on), is_local=False)


def check_bind_ip(text: str) -> str:
    """An address of this host to publish on; EngineError where nothing can be bound there."""
    try:
        hold_free_ports([0], text).release()
    except OSError as error:
        raise EngineError(
            f"ports cannot be published on {text}",
            found=str(error.strerror or error),
            do="name an address of this host",
        ) from error
    return text


PreassignedPorts = Mapping[str, Mapping[Port, int]]
"""Ports that were told before the run began, inner to outer, by the name of the service that all tests share."""


class Addresses:
    """Held ports on 127.0.0.1; for stacks with native ports a loopback address of their own.

    On an engine elsewhere, or in a virtual machine, nothing can be held: the ports are picked at random, and do not
    change either. An engine that gives each container an address of its own (`given_by`) has the ports as they are;
    where that is known only when the container runs, `complete` tells it.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        reach: PublishAddress = LOCAL,
        known: PreassignedPorts | None = None,
        facts: EngineFacts | None = None,
        given_by: GivingAddresses | None = None,
    ) -> None:
        self._facts = facts
        self._given_by = given_by
        self._rng = rng
        self._reach = reach
        self._known = known or {}
        self._claims: Once[NetworkKey, tuple[str, socket.socket]] = Once()

    def hold(self, instance: Instance, label: str, labels: Mapping[str, str] | None = None) -> HeldPorts:
        """The ports of an instance, held until they are released. Errors name the service as `label` does.

        An address that the engine gives for it has these labels.
        """
        if self._are_late:
            held = HeldPorts(host="", by_inner={port: port for port in instance.spec.ports})
        else:
            given = self._hold_given(self._given_by, instance, labels or {}) if self._given_by else None
            held = given or self._hold_tcp(instance, label)
        held.by_inner |= self._pick_udp(instance)
        return held

    def complete(self, ports: HeldPorts, engine: Engine, container_id: str) -> bool:
        """Note the address of a container that was started; False where it was known before."""
        if not self._are_late or not ports.by_inner:
            return False
        ports.host = cast(HavingAddresses, engine).address_of(container_id)
        return True

    @property
    def _are_late(self) -> bool:
        return self._facts is not None and self._facts.has_addresses

    def publish_on(self, ports: HeldPorts) -> str:
        """The address that the engine publishes these ports on."""
        return ports.publish_on or ports.host

    def _pick_udp(self, instance: Instance) -> dict[Port, int]:
        inner_ports = instance.spec.udp_ports
        if instance.native_ports or instance.spec.container.network == "host":
            return {port: split_port(port)[0] for port in inner_ports}
        if self._reach.is_local:
            return pick_udp_ports(inner_ports, self._reach.publish_on, self._rng)
        return pick_ports(inner_ports, "", "", self._rng).by_inner

    def _hold_given(self, engine: GivingAddresses, instance: Instance, labels: Mapping[str, str]) -> HeldPorts | None:
        ports = instance.spec.ports
        if not ports:
            return None
        given = engine.give_address(labels, ports)
        return HeldPorts(
            host=given.host,
            by_inner={port: port for port in ports},
            address_id=given.address_id,
            give_back=lambda: engine.take_address_back(given.address_id),
        )

    def _hold_tcp(self, instance: Instance, label: str) -> HeldPorts:
        if instance.native_ports:
            self._check_native(label)
            host, _ = self._claims.get(instance.network, lambda: claim_loopback_address(self._rng))
            return hold_native_ports(instance.spec.ports, host, label)
        if instance.spec.container.network == "host":
            return HeldPorts(host=self._reach.host, by_inner={port: port for port in instance.spec.ports})
        told = self._known.get(instance.spec.name) if _is_the_projects(instance) else None
        if told:
            return reserve_preassigned_ports(told, self._reach)
        return reserve_ports(instance.spec.ports, self._reach, self._rng)

    def _check_native(self, label: str) -> None:
        reason = why_no_native_ports(self._reach)
        if reason:
            raise StartError(label, "cannot have its native ports", found=reason, do=HELD_INSTEAD)
        if self._facts:
            what = f"service {label} cannot have its native ports"
            require(self._facts, Capability.NATIVE_PORTS, what, HELD_INSTEAD)

    def release(self, key: NetworkKey) -> None:
        """Give the loopback address of a stack back."""
        claim = self._claims.pop(key)
        if claim:
            claim[1].close()

    def close(self) -> None:
        """Give everything back."""
        for key in self._claims.keys():
            self.release(key)


def why_no_native_ports(reach: PublishAddress) -> str:
    """Reason why no stack can have a loopback address of its own; empty where each can."""
    if reach.is_forwarded:
        return "the engine runs in a virtual machine, whose forwarder knows no loopback address but 127.0.0.1"
    if not reach.is_local:
        return f"the engine publishes ports at {reach.host}, where no stack has an address of its own"
    return ""


def reserve_ports(inner_ports: Iterable[int], reach: PublishAddress, rng: random.Random) -> HeldPorts:
    """A port for each inner port; held where ports can be held."""
    if reach.is_forwarded:
        return claim_free_ports(inner_ports, reach.host, reach.publish_on, rng, claimed_ports_folder())
    if not reach.is_local:
        return pick_ports(inner_ports, reach.host, reach.publish_on, rng)
    return replace(hold_free_ports(inner_ports, _reserve_on(reach)), host=reach.host, publish_on=reach.publish_on)


def reserve_preassigned_ports(told: Mapping[Port, int], reach: PublishAddress) -> HeldPorts:
    """Ports that were told before the run began; held once more where ports can be held."""
    if not reach.can_hold_ports:
        return HeldPorts(host=reach.host, by_inner=dict(told), publish_on=reach.publish_on)
    return replace(hold_known_ports(told, _reserve_on(reach)), host=reach.host, publish_on=reach.publish_on)


def _reserve_on(reach: PublishAddress) -> str:
    return LOOPBACK if reach.publish_on == EVERYWHERE else reach.publish_on


def _is_the_projects(instance: Instance) -> bool:
    key = instance.key
    return key.service.stack == StackId("") and not (key.place.node or key.place.worker or key.variation)
