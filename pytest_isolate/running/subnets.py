"""Which small subnet a new network gets. Pure, but for the random number generator that is passed in."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, ip_network

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
