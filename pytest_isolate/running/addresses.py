"""Which host address and ports an instance is published on."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

from pytest_isolate.errors import EngineError
from pytest_isolate.model.service import StackId
from pytest_isolate.planning.placement import Instance, NetworkKey
from pytest_isolate.running.once import Once
from pytest_isolate.running.ports import (
    LOOPBACK,
    HeldPorts,
    claim_loopback_address,
    hold_free_ports,
    hold_known_ports,
    hold_native_ports,
)

KnownPorts = Mapping[str, Mapping[int, int]]
"""Ports that were told before the run began, inner to outer, by the name of the service that all tests share."""


class Addresses:
    """Held ports on 127.0.0.1; for stacks with native ports a loopback address of their own."""

    def __init__(self, rng: random.Random, *, bind_ip: str = LOOPBACK, known: KnownPorts | None = None) -> None:
        self._rng = rng
        self._bind_ip = bind_ip
        self._known = known or {}
        self._claims: Once[NetworkKey, tuple[str, socket.socket]] = Once()

    def hold(self, instance: Instance, label: str) -> HeldPorts:
        """The ports of an instance, held until they are released. Errors name the service as `label` does."""
        if not instance.native_ports:
            host = LOOPBACK if self._bind_ip == "0.0.0.0" else self._bind_ip  # noqa: S104  # compared, not bound
            told = self._known.get(instance.spec.name) if _is_the_projects(instance) else None
            return hold_known_ports(told, host) if told else hold_free_ports(instance.spec.ports, host)
        host, _ = self._claims.get(instance.network, lambda: claim_loopback_address(self._rng))
        return hold_native_ports(instance.spec.ports, host, label)

    def publish_on(self, ports: HeldPorts) -> str:
        """The address that the engine publishes these ports on."""
        return self._bind_ip if ports.host == LOOPBACK else ports.host

    def release(self, key: NetworkKey) -> None:
        """Give the loopback address of a stack back."""
        claim = self._claims.pop(key)
        if claim:
            claim[1].close()

    def close(self) -> None:
        """Give everything back."""
        for key in self._claims.keys():
            self.release(key)


def _is_the_projects(instance: Instance) -> bool:
    """Whether it is what all tests share under its plain name, as it is declared."""
    key = instance.key
    return key.service.stack == StackId("") and not (key.place.node or key.place.worker or key.variation)


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
