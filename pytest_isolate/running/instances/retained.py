"""Instances of this process that stay when their place or the run ends, for somebody to look inside."""

from __future__ import annotations

import threading
from collections.abc import Collection

from pytest_isolate.planning.placement import InstanceKey, NetworkKey
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.instances.budget import BudgetKeeper

# Of tests that fail, in each process, and of starts: who has seen so many, seldom looks into more.
MAX_RETAINED = 5


class RetainedInstances:
    """The instances that stay; none where `is_on` is false.

    `failed` are those that did not become ready.
    """

    def __init__(self, budget: BudgetKeeper, *, is_on: bool) -> None:
        self._budget = budget
        self._is_on = is_on
        self._lock = threading.Lock()
        self._retained: dict[str, RunningInstance] = {}
        self._failed: dict[InstanceKey, RunningInstance] = {}

    def retain(self, running: RunningInstance) -> bool:
        """Keep an instance from now on; False where what is still to come would have no room beside it."""
        with self._lock:
            if running.container_id not in self._retained and self._is_on and self._budget.keep(running.instance):
                self._retained[running.container_id] = running
            return running.container_id in self._retained

    def retain_failed(self, running: RunningInstance) -> bool:
        """Keep the container of a failed start; False for what later runs keep, which they try anew."""
        if running.domain.is_kept or len(self._failed) >= MAX_RETAINED or not self.retain(running):
            return False
        with self._lock:
            self._failed[running.instance.key] = running
        return True

    def give_up(self, running: RunningInstance) -> None:
        """Another one is about to take an instance's name on its network."""
        with self._lock:
            self._retained.pop(running.container_id, None)

    def is_retained(self, running: RunningInstance) -> bool:
        """True for an instance that stays when its place ends."""
        with self._lock:
            return running.container_id in self._retained

    def is_left(self, network: NetworkKey) -> bool:
        """True where something stays on a network, so that it cannot be used again."""
        with self._lock:
            return any(running.instance.network == network for running in self._retained.values())

    def failed(self) -> Collection[RunningInstance]:
        """The instances that are there although their start has failed."""
        with self._lock:
            return tuple(self._failed.values())

    def release_ports(self) -> None:
        """Let go of the ports: what stays is published by the engine, not by us."""
        with self._lock:
            for running in self._retained.values():
                running.ports.release()
