"""Names and addresses of external services, for the containers that use them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

from pytest_isolate.model.service import Pairs
from pytest_isolate.running.containers.running import RunningInstance

HOST_GATEWAY = "host-gateway"
"""Stands for the engine's host in a container's table of names (Docker 20.10)."""


def hosts_of(needed: Mapping[str, RunningInstance]) -> Pairs:
    """Names that a container has to know, with their addresses: of services that are not on its network."""
    hosts: dict[str, str] = {}
    for alias, running in needed.items():
        used = running.spec.external
        if used is None:
            continue
        address = HOST_GATEWAY if used.is_loopback else _resolve(used.host)
        hosts |= dict.fromkeys([alias, *running.spec.container.aliases], address)
        if not used.is_loopback and not _is_address(used.host):
            # Whatever finds it here, such as a table of names in CI, a container does not have.
            hosts[used.host] = address
    return tuple(hosts.items())


def _resolve(host: str) -> str:
    """Return the address that tests reach a host at, IPv4 first."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = sorted({(family != socket.AF_INET, str(place[0])) for family, _, _, _, place in found})
    return addresses[0][1]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
