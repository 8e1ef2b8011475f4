"""Which small subnet a new network gets."""

from __future__ import annotations

import random
from ipaddress import IPv4Network, ip_network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.engine.api import DEFAULT_SUBNETS
from pytest_isolate.engine.docker.network_api import free_subnets, prefix_for

seeds = st.integers(0, 2**32)
pools = st.builds(
    lambda address, prefix: str(IPv4Network((address, prefix), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(22, 28),
)
used_subnets = st.lists(
    st.builds(
        lambda address, prefix: str(IPv4Network((address, prefix), strict=False)),
        st.integers(int(IPv4Network("10.189.0.0/24").network_address) - 300, 2**20 + 2**31),
        st.integers(20, 32),
    )
    | st.integers(0, 1023).map(lambda n: f"10.189.{n // 256}.{n % 256}/28"),
    max_size=12,
)


def choose(pool: str, used: list[str], prefix: int, seed: int = 0) -> list[IPv4Network]:
    return [IPv4Network(text) for text in free_subnets(pool, used, prefix, random.Random(seed))]


@given(pools, st.integers(22, 30), seeds)
def test_subnets_fill_the_pool_without_overlap(pool: str, prefix: int, seed: int) -> None:
    whole = IPv4Network(pool)

    chosen = choose(pool, [], prefix, seed)

    assert sorted(chosen) == (list(whole.subnets(new_prefix=prefix)) if prefix >= whole.prefixlen else [])


@given(used_subnets, st.integers(24, 28), seeds)
def test_what_is_used_is_left_alone_and_nothing_else(used: list[str], prefix: int, seed: int) -> None:
    taken = [ip_network(text, strict=False) for text in used]

    chosen = choose("10.189.0.0/22", used, prefix, seed)

    candidates = IPv4Network("10.189.0.0/22").subnets(new_prefix=prefix)
    assert sorted(chosen) == [c for c in candidates if not any(c.overlaps(t) for t in taken)]


@pytest.mark.parametrize(
    ("pool", "used"),
    [
        ("10.0.0.0/29", []),
        ("10.0.0.0/28", ["10.0.0.0/28"]),
        ("10.0.0.0/28", ["0.0.0.0/0"]),
        ("10.0.0.0/24", ["10.0.0.0/25", "10.0.0.128/25"]),
    ],
)
def test_a_full_or_too_small_pool_gives_nothing(pool: str, used: list[str]) -> None:
    assert choose(pool, used, 28) == []


def test_addresses_of_version_6_are_no_obstacle() -> None:
    assert len(choose("10.0.0.0/28", ["fd00::/8", "::/0"], 28)) == 1


def test_runs_begin_at_different_places() -> None:
    firsts = {choose("10.0.0.0/20", [], 28, seed)[0] for seed in range(20)}

    assert len(firsts) > 10


@given(st.integers(0, 5000))
def test_a_subnet_has_room_for_its_containers_and_the_gateway(containers: int) -> None:
    usable = IPv4Network((0, prefix_for(containers))).num_addresses - 3

    assert usable >= containers


@given(st.integers(0, 5000))
def test_a_subnet_is_no_larger_than_it_must_be(containers: int) -> None:
    prefix = prefix_for(containers)

    assert prefix == 28 or IPv4Network((0, prefix + 1)).num_addresses - 3 < containers


def test_hundreds_of_stacks_fit() -> None:
    used = ["172.17.0.0/16", "10.189.3.0/24"]
    rng = random.Random(1)
    for _ in range(300):
        used += islice(free_subnets(DEFAULT_SUBNETS, used, prefix_for(8), rng), 1)

    made = [IPv4Network(text) for text in used[2:]]
    assert len(set(made)) == 300
    assert all(net.subnet_of(IPv4Network(DEFAULT_SUBNETS)) for net in made)
    assert not any(net.overlaps(IPv4Network("10.189.3.0/24")) for net in made)
