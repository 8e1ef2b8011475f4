"""Instances that go before the run ends: their place is over, they are given up, or their start has failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from pytest_isolate.planning.placement import Instance, InstanceKey, NetworkKey
from pytest_isolate.running.containers.launcher import Launcher
from pytest_isolate.running.containers.running import InstanceObserver, RunningInstance, instance_hash
from pytest_isolate.running.instances.budget import BudgetKeeper
from pytest_isolate.running.instances.gate import RunClosing
from pytest_isolate.running.instances.retained import RetainedInstances


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
        """Let go of every port and address. Call it when the containers are gone."""
        for running in ready:
            running.ports.release()
        self._retained.release_ports()
        self._launcher.close()

    def _remove(self, running: RunningInstance) -> None:
        for observer in self._observers:
            observer.removing(running)
        self._launcher.remove(running)
