"""Instances that go before the run ends, and those that stay when it does, to be looked into."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future

from pytest_isolate.planning.placement import Instance, InstanceKey, NetworkKey
from pytest_isolate.running.containers.launcher import Launcher
from pytest_isolate.running.containers.running import InstanceObserver, RunningInstance, instance_hash
from pytest_isolate.running.instances.budget import BudgetKeeper, RunClosing

# Of tests that fail, in each process, and of starts: more than that is seldom looked into.
MAX_RETAINED = 5


class RetainedInstances:
    """The instances that stay, those whose start has failed among them; none where `is_on` is false."""

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


class Remover:
    """Removes instances, and what is left of a stack when its last instance has gone."""

    def __init__(
        self,
        launcher: Launcher,
        budget: BudgetKeeper,
        retained: RetainedInstances,
        observers: Sequence[InstanceObserver],
    ) -> None:
        self._launcher = launcher
        self._budget = budget
        self._retained = retained
        self._observers = observers
        self._removals: dict[InstanceKey, Future[None]] = {}

    def release(self, running: RunningInstance) -> None:
        """Remove an instance whose place has ended, unless it is retained, and give its room back."""
        if not self._retained.is_retained(running):
            self._remove(running)
            self._budget.release(running.instance)

    def discard(self, running: RunningInstance) -> None:
        """Remove an instance that must not be used any more; asked for again, it is started anew."""
        if running.domain.board:
            running.domain.board.withdraw(instance_hash(running.instance.key))
        self._retained.give_up(running)
        self.release(running)

    def undo_start(self, running: RunningInstance, error: BaseException | None) -> None:
        """Remove in the background what has failed to start, unless it is retained: the error need not wait for it."""
        if not isinstance(error, RunClosing) and self._retained.retain_failed(running):
            return
        removal = self._removals[running.instance.key] = Future[None]()

        def remove() -> None:
            try:
                self._remove(running)
            finally:
                removal.set_result(None)

        threading.Thread(target=remove, name="isolate-undo", daemon=True).start()

    def give_room_back(self, instance: Instance) -> None:
        """Give the room of a failed start back, once its container is gone."""
        removal = self._removals.pop(instance.key, None)
        if removal:
            removal.add_done_callback(lambda _: self._budget.release(instance))
        else:
            self._budget.release(instance)

    def forget_network(self, key: NetworkKey) -> Callable[[], None]:
        """Let the next one who asks get another network, volumes and address; what is returned removes these."""
        return self._launcher.forget_network(key, is_left=self._retained.is_left(key))

    def release_addresses(self, ready: Iterable[RunningInstance]) -> None:
        """Let go of every port and address that this process holds. Call it when its own containers are gone.

        What it has started for all workers may be in use still, and what is kept will be.
        """
        for running in ready:
            running.ports.release()
        self._retained.release_ports()
        self._launcher.close()

    def _remove(self, running: RunningInstance) -> None:
        for observer in self._observers:
            observer.removing(running)
        self._launcher.remove(running)
