"""The events in the life of an instance that other parts of a run want to hear of."""

from __future__ import annotations

from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.running import RunningInstance


class InstanceObserver:
    """Hears what happens to the instances of this process; every event is ignored unless a subclass wants it.

    An event is told in the thread in which it happens. What an observer raises from `launched` and `ready` fails the
    start.
    """

    def launched(self, running: RunningInstance) -> None:
        """Its container was started here, and is not ready yet."""

    def ready(self, running: RunningInstance) -> None:
        """It was started here and is ready, and no test and no other process has been given it yet."""

    def available(self, running: RunningInstance, handle: Service) -> None:
        """It may be used in this process from now on, whichever process has started it."""

    def restarted(self, running: RunningInstance) -> None:
        """It was stopped or killed by its handle, and is ready again."""

    def removing(self, running: RunningInstance) -> None:
        """This process is about to remove its container."""
