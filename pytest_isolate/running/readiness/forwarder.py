"""A port that a forwarder lacks, told from a service that does not listen: by a look into the container.

Forwarders of virtual machines find out by themselves what to forward. Some are seconds late, and some try only once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from pytest_isolate.engine.api import Engine
from pytest_isolate.running.readiness.listeners import find_listeners

# Lima's forwarder looks for new ports every 3 s. A look costs a command in the container.
_LOOK_EVERY_S = 5.0
# A server that has given an answer of its own, if a wrong one, has been reached.
_UNREACHED = re.compile(r"connection|no answer|timed out")


class ForwarderCheck:
    """Looks into a container that is not ready, from 5 s on and every 5 s."""

    def __init__(self, engine: Engine, container_id: str, now: Callable[[], float]) -> None:
        self._engine = engine
        self._container_id = container_id
        self._now = now
        self._looked_at = now()
        self._found: list[str] = []

    def explain(self, addresses: Mapping[int, str], reason: str) -> list[str]:
        """Return the likely reason why ports do not answer at their addresses; nothing where nothing points to one."""
        if not addresses or not self._engine.facts().is_forwarded or not _UNREACHED.search(reason):
            return []
        if self._now() - self._looked_at >= _LOOK_EVERY_S:
            listeners = find_listeners(self._container_id, self._engine)
            self._found = list(_describe(addresses, listeners))
            self._looked_at = self._now()
        return self._found


def _describe(addresses: Mapping[int, str], listeners: set[int] | None) -> Iterator[str]:
    lacks = "the forwarder of your virtual machine may lack it"
    for port, address in addresses.items():
        if listeners is None:
            yield f"{address} does not answer: if its log says that it is ready, {lacks}"
        elif port in listeners:
            yield f"the container answers inside, on port {port}; {address} does not: {lacks}"
