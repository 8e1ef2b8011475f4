"""Checks of `pytest-isolate doctor`, each with a verdict and what to do. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from ipaddress import IPv4Network, ip_network

from msgspec import Struct

from pytest_isolate.engine.command_api import Attempt, EngineReport
from pytest_isolate.running.doctor.host import Disk, Inotify, Route

OK, WARNING, PROBLEM = "ok", "warning", "problem"
GIB = 1 << 30
_OLDEST = {"Docker": (20, 10), "Podman": (4, 3)}
# What Docker divides where no pools are configured (libnetwork, ipamutils).
_BUILT_IN_POOLS = (
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
)
_START = "start one (on Debian: apt-get install docker.io; dockerd &), or name it in DOCKER_HOST"


class Facts(Struct, frozen=True, kw_only=True):
    """Everything that was found out. `without_host` is an engine that answers where DOCKER_HOST does not count."""

    attempts: tuple[Attempt, ...]
    engine: EngineReport | None
    without_host: str
    user: str
    groups: tuple[str, ...]
    pool: str
    routes: tuple[Route, ...]
    disks: tuple[Disk, ...]
    inotify: Inotify | None


class Finding(Struct, frozen=True, kw_only=True):
    """One check: its verdict, what was found, and what to do where it is not ok."""

    check: str
    verdict: str
    found: str
    do: str = ""


def _judge(check: str, verdict: str, found: str, do: str = "") -> Finding:
    return Finding(check=check, verdict=verdict, found=found, do=do if verdict != OK else "")


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Every check that can be made with these facts, in the order in which to read them."""
    return tuple(_check(facts))


def _check(facts: Facts) -> Iterator[Finding]:
    yield from _engine(facts)
    yield from _rights(facts)
    if facts.engine:
        yield from _engine_checks(facts.engine)
        yield from _address_checks(facts, facts.engine)
    advice = facts.engine.advice.get("disk", "") if facts.engine else ""
    yield from (check_disk(disk, advice) for disk in facts.disks)
    if facts.inotify:
        yield check_inotify(facts.inotify)


def check_version(engine: EngineReport) -> Finding:
    """Old engines lack what is asked of them."""
    found = f"{engine.name} {engine.version}, API {engine.api}{', rootless' if engine.is_rootless else ''}"
    oldest = _OLDEST.get(engine.name)
    if oldest is None:
        do = "it may work, but it is not tested; where something fails, try with Docker"
        return _judge("version", WARNING, found, do)
    numbers = tuple(int(word) for word in engine.version.split(".")[:2] if word.isdecimal())
    if len(numbers) == 2 and numbers < oldest:
        do = f"use {engine.name} {'.'.join(map(str, oldest))} or newer"
        return _judge("version", PROBLEM, found, do)
    return _judge("version", OK, found)


def check_place(engine: EngineReport) -> Finding:
    """Services are published where tests can reach them."""
    if engine.virtual_machine:
        memory, clock = f"{engine.memory_bytes / GIB:.1f} GiB", _describe_clock(engine)
        return _judge("place", OK, f"{engine.virtual_machine}, {memory}, {clock}")
    if engine.is_local:
        return _judge("place", OK, "on this host")
    if not engine.host:
        found = "pytest runs in a container of the engine's that has no network: nobody reaches services from there"
        return _judge("place", PROBLEM, found, "give it one, or --isolate-host=ADDRESS")
    found = f"{engine.address} publishes services on {engine.publish_on}, and tests reach them at {engine.host}"
    return _judge("place", OK, found)


def _describe_clock(engine: EngineReport) -> str:
    ahead = engine.clock_ahead_s
    if abs(ahead) <= engine.clock_within_s:
        return "clock as here"
    return f"clock {abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}"


def check_clock(engine: EngineReport) -> Finding:
    """Compare clocks: where they differ, tokens and certificates are not valid yet, or no longer."""
    ahead, within = engine.clock_ahead_s, engine.clock_within_s
    difference = max(0.0, abs(ahead) - within)
    side = "ahead of" if ahead > 0 else "behind"
    if difference < 1:
        return _judge("clock", OK, "the engine's clock agrees with this one within a second")
    return _judge(
        "clock",
        PROBLEM if difference >= 30 else WARNING,
        f"the engine's clock is {abs(ahead):.1f} s {side} this one",
        "set both by NTP; where the engine runs in a virtual machine, start that again",
    )


def check_pool(pool: str, subnets: Iterable[str]) -> Finding:
    """The addresses that stacks' networks are made of."""
    whole = IPv4Network(pool)
    taken = [n for n in _ipv4(subnets) if n.overlaps(whole)]
    used = min(1.0, sum(min(n.num_addresses, whole.num_addresses) for n in taken) / whole.num_addresses)
    found = f"{pool}, of which networks of stacks are made, is {used:.0%} in use"
    verdict = PROBLEM if used >= 0.95 else WARNING if used >= 0.8 else OK
    do = "pytest-isolate gc removes what dead runs have left; a larger pool: --isolate-subnets=10.192.0.0/12"
    return _judge("addresses", verdict, found, do)


def check_engine_pools(engine: EngineReport) -> Finding:
    """The engine's own pools: not for our networks, but for those that others make beside them."""
    taken = _ipv4(engine.subnets)
    total = used = 0
    for base, size in engine.pools or _BUILT_IN_POOLS:
        whole = ip_network(base, strict=False)
        if isinstance(whole, IPv4Network):
            total += 2 ** (size - whole.prefixlen)
            used += _parts_in_use(whole, size, taken)
    found = f"{used} of the {total} networks that the engine's own pools have room for are in use"
    verdict = WARNING if total and total - used <= max(1, total // 10) else OK
    do = f"pytest-isolate does not need them, but {engine.advice.get('pools', 'others do')}"
    return _judge("pools", verdict, found, do)


def check_routes(pool: str, routes: Iterable[Route], subnets: Iterable[str]) -> Finding | None:
    """A route of this host into the pool leads to something that a stack's network would hide."""
    whole, own = IPv4Network(pool), set(subnets)
    inside = [r for r in routes if not _is_bridge(r, own) and ip_network(r.subnet).overlaps(whole)]
    if not inside:
        return None
    found = ", ".join(f"{r.subnet} through {r.interface}" for r in inside)
    return _judge(
        "routes",
        WARNING,
        f"this host has routes into {pool}: {found}",
        "name a pool that nothing else uses: --isolate-subnets",
    )


def check_disk(disk: Disk, advice: str = "") -> Finding:
    """Room for images, containers and what tests write."""
    check = f"disk ({disk.what})"
    if disk.free_bytes is None:
        return _judge(check, OK, f"{disk.path} cannot be seen from here")
    share = disk.free_bytes / disk.size_bytes if disk.size_bytes else 0.0
    found = f"{disk.path}: {disk.free_bytes / GIB:.1f} of {disk.size_bytes / GIB:.1f} GiB free"
    verdict = PROBLEM if disk.free_bytes < GIB else WARNING if disk.free_bytes < 5 * GIB or share < 0.05 else OK
    if disk.files and disk.free_files < disk.files * 0.02:
        verdict, found = PROBLEM, f"{found}, but only {disk.free_files} of {disk.files} files (inodes)"
    do = "make room there"
    if disk.what == "engine":
        do = f"pytest-isolate gc; what images and volumes take: {advice}"
    return _judge(check, verdict, found, do)


def check_inotify(inotify: Inotify) -> Finding:
    """Servers that watch files take instances of the user that they run as, on the host and in containers alike."""
    limit, used = inotify.max_instances, inotify.used_instances
    found = f"{used} of {limit} instances in use by this user; {inotify.max_watches} watches"
    verdict = PROBLEM if used >= limit * 0.95 else WARNING if used >= limit * 0.75 or limit < 128 else OK
    if inotify.max_watches < 8192:
        verdict = PROBLEM if verdict == PROBLEM else WARNING
    do = "sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288"
    return _judge("inotify", verdict, found, do)


def check_limits(engine: EngineReport) -> Finding | None:
    """Limits that an engine does not know protect nothing."""
    lacking = [("memory", engine.limits_memory), ("processes", engine.limits_processes)]
    missing = [name for name, is_there in lacking if not is_there]
    if not missing:
        return None
    found = f"the engine cannot limit {' and '.join(missing)} of a container"
    return _judge("limits", WARNING, found, engine.advice.get("limits", ""))


def _engine(facts: Facts) -> Iterator[Finding]:
    if facts.engine:
        found = f"answers at {facts.engine.address} ({facts.engine.named_by})"
        yield _judge("engine", OK, found)
        return
    tried = "; ".join(f"{a.address or 'no address'} ({a.named_by}): {a.answer}" for a in facts.attempts)
    yield _judge("engine", PROBLEM, f"no engine answers: {tried}", _how_to_find_one(facts))


def _how_to_find_one(facts: Facts) -> str:
    if any(_is_refused(attempt) for attempt in facts.attempts):
        return "get the right to the socket, see below"
    first = facts.attempts[0].named_by if facts.attempts else ""
    if first == "DOCKER_HOST" or len(facts.attempts) == 1:
        wrong = "DOCKER_HOST" if first == "DOCKER_HOST" else "DOCKER_CONTEXT"
        if facts.without_host:
            return f"unset {wrong}: without it the engine at {facts.without_host} answers"
        return f"correct {wrong}, or unset it and start an engine on this host"
    return _START


def _rights(facts: Facts) -> Iterator[Finding]:
    for attempt in facts.attempts:
        socket = attempt.socket
        if not socket:
            continue
        what = f"{socket.path} belongs to {socket.owner}:{socket.group}, mode {socket.mode}"
        if not _is_refused(attempt):
            if not attempt.answer:
                yield _judge("rights", OK, f"user {facts.user} may use {socket.path}")
            continue
        groups = f"is in {', '.join(facts.groups) or 'no group'}"
        yield _judge(
            "rights",
            PROBLEM,
            f"{what}; user {facts.user} {groups}, and may not use it",
            _how_to_get_rights(socket.group, facts.user),
        )


def _how_to_get_rights(group: str, user: str) -> str:
    if group in ("root", "wheel", "nogroup"):
        return "run as a user who may, or start a rootless engine of your own (dockerd-rootless-setuptool.sh install)"
    return (
        f"sudo usermod -aG {group} {user}, then log in again (who is in {group} can become root), or start a rootless "
        "engine of your own"
    )


def _is_refused(attempt: Attempt) -> bool:
    return bool(attempt.answer and attempt.socket and not attempt.socket.may_use)


def _engine_checks(engine: EngineReport) -> Iterator[Finding]:
    yield check_version(engine)
    yield check_place(engine)
    limits = check_limits(engine)
    if limits:
        yield limits
    yield check_clock(engine)


def _address_checks(facts: Facts, engine: EngineReport) -> Iterator[Finding]:
    yield check_pool(facts.pool, engine.subnets)
    routes = check_routes(facts.pool, facts.routes, engine.subnets) if _is_on_this_kernel(engine) else None
    if routes:
        yield routes
    yield check_engine_pools(engine)


def _is_on_this_kernel(engine: EngineReport) -> bool:
    return engine.is_local and not engine.virtual_machine


def _is_bridge(route: Route, subnets: Container[str]) -> bool:
    return route.subnet in subnets or route.interface.startswith(("br-", "docker"))


def _ipv4(subnets: Iterable[str]) -> list[IPv4Network]:
    networks = (ip_network(text, strict=False) for text in subnets)
    return [network for network in networks if isinstance(network, IPv4Network)]


def _parts_in_use(whole: IPv4Network, size: int, taken: Sequence[IPv4Network]) -> int:
    near = [network for network in taken if network.overlaps(whole)]
    parts = whole.subnets(new_prefix=size) if near else ()
    return sum(any(part.overlaps(network) for network in near) for part in parts)
