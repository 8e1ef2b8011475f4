"""Table of the copies of a process, and what to do next about them: pure, so that it can be tried in all its states.

A copy is handed out once and never again. It is somebody's from then on until he gives it back, whether or not he is
connected to it, and is dropped only after that.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from msgspec import Struct, field

Kind = TypeVar("Kind")

# What is ready before anybody has shown how fast he takes.
_FIRST = 8
# A test that comes finds a copy when so many seconds' worth of takes are there.
_HORIZON_S = 4.0
# Takes are remembered for so long.
_MEMORY_S = 5.0
# Whatever the plan expects of this process, which does not know what the others will leave to it.
_LEAST = 2


class Create(Struct, Generic[Kind], frozen=True):
    """Make one more copy."""

    kind: Kind


class Drop(Struct, frozen=True):
    """Drop a copy that was given back."""

    name: str


class Pool(Struct, Generic[Kind]):
    """The copies of one kind. `expected` is how many this process will probably be asked for in all."""

    kind: Kind
    expected: int
    is_open: bool = False
    is_failing: bool = False
    ready: deque[str] = field(default_factory=deque)
    waiting: int = 0
    taken: int = 0
    hits: int = 0
    takes: deque[float] = field(default_factory=deque)


class PoolTable(Generic[Kind]):
    """The pools of one process on one server. `cap` bounds what is there and not in use."""

    def __init__(self, cap: int) -> None:
        self.pools: dict[Kind, Pool[Kind]] = {}
        self.held: set[str] = set()
        self.to_drop: deque[str] = deque()
        self.cap = cap

    def add(self, kind: Kind, expected: int) -> None:
        """Expect takes of a kind. Nothing is made of it before `open`."""
        self.pools.setdefault(kind, Pool(kind=kind, expected=expected))

    def open(self, kind: Kind) -> None:
        """The template of a kind is there."""
        self.pools[kind].is_open = True

    def take(self, kind: Kind, now: float) -> str | None:
        """A copy that is ready, for the one who asks; None where none is, and then he waits."""
        pool = self.pools[kind]
        pool.is_failing = False
        pool.taken += 1
        pool.takes.append(now)
        while pool.takes[0] < now - _MEMORY_S:
            pool.takes.popleft()
        if pool.ready and not pool.waiting:
            pool.hits += 1
            return self._hand_over(pool)
        pool.waiting += 1
        return None

    def take_awaited(self, kind: Kind) -> str | None:
        """A copy for one who waits, once there is one."""
        pool = self.pools[kind]
        if not pool.ready:
            return None
        pool.waiting -= 1
        return self._hand_over(pool)

    def leave(self, kind: Kind) -> None:
        """One who waits gives up."""
        self.pools[kind].waiting -= 1

    def created(self, kind: Kind, name: str) -> None:
        """Note that what `next_step` asked for is done."""
        self.pools[kind].is_failing = False
        self.pools[kind].ready.append(name)

    def failed(self, kind: Kind) -> None:
        """Note that it could not be done: it is not asked for again unless somebody waits for it."""
        self.pools[kind].is_failing = True

    def give_back(self, name: str) -> None:
        """The test of a copy has ended. Safe to repeat."""
        if name in self.held:
            self.held.remove(name)
            self.to_drop.append(name)

    def retain(self, name: str) -> None:
        """A copy is not to be dropped any more, whoever gives it back."""
        self.held.discard(name)

    def next_step(self, now: float) -> Create[Kind] | Drop | None:
        """Whoever waits goes first; then what is missing, while there is room; then what is to be dropped."""
        pools = [pool for pool in self.pools.values() if pool.is_open]
        awaited = max(pools, key=lambda pool: pool.waiting - len(pool.ready), default=None)
        if awaited and awaited.waiting > len(awaited.ready):
            return Create(awaited.kind)
        has_room = self.idle < self.cap
        if self.to_drop and not has_room:
            return Drop(self.to_drop.popleft())
        pools = [pool for pool in pools if not pool.is_failing]
        short = min(pools, key=lambda pool: len(pool.ready) - self.goal(pool, now), default=None)
        if short and has_room and len(short.ready) < self.goal(short, now):
            return Create(short.kind)
        return Drop(self.to_drop.popleft()) if self.to_drop else None

    def goal(self, pool: Pool[Kind], now: float) -> int:
        """Number of copies that should be ready."""
        recent = sum(taken >= now - _MEMORY_S for taken in pool.takes)
        wanted = max(_FIRST, round(recent * _HORIZON_S / _MEMORY_S))
        return min(wanted, max(pool.expected - pool.taken, _LEAST if pool.taken else 0))

    @property
    def idle(self) -> int:
        """Number of copies that are there and not in use."""
        return len(self.to_drop) + sum(len(pool.ready) for pool in self.pools.values())

    def empty(self) -> list[str]:
        """Every copy, of which nothing is known any more: the end."""
        names = [*self.held, *self.to_drop, *(name for pool in self.pools.values() for name in pool.ready)]
        self.held.clear()
        self.to_drop.clear()
        for pool in self.pools.values():
            pool.ready.clear()
        return names

    def _hand_over(self, pool: Pool[Kind]) -> str:
        name = pool.ready.popleft()
        self.held.add(name)
        return name
