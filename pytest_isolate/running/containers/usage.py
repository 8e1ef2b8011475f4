"""Peak usage of each service of a run, read before its container goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from pytest_isolate.engine.api import UsageCounters
from pytest_isolate.planning.placement import Instance
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.running import InstanceObserver, RunningInstance
from pytest_isolate.running.containers.security import memory_limit


class UsageMeter(InstanceObserver):
    """Reads what containers have used before they are removed. No engine is asked, so it costs no test its time."""

    def __init__(
        self, count: Callable[[str], UsageCounters | None], advise: Callable[[Instance], Sequence[str]] = lambda _: ()
    ) -> None:
        self._count = count
        self._advise = advise
        self._lock = threading.Lock()
        self._found: dict[str, dict[str, Any]] = {}
        self._used: set[str] = set()

    def available(self, running: RunningInstance, handle: Service) -> None:  # noqa: ARG002  # the event's signature
        """Count from now on: what a failed start has used says nothing of the service."""
        with self._lock:
            self._used.add(running.container_id)

    def removing(self, running: RunningInstance) -> None:
        with self._lock:
            is_used = running.container_id in self._used
        if is_used:
            self.read(running)

    def read(self, running: RunningInstance) -> None:
        """Read what an instance has used that is about to go."""
        counted = self._count(running.container_id)
        found = {
            "service": running.instance.key.words,
            "limit": memory_limit(running.spec),
            "is_built": running.spec.build is not None,
            "peak": counted.peak_bytes if counted else None,
            "needed": needed_bytes(counted) if counted else None,
            "processor": counted.cpu_s if counted else None,
            "advice": list(self._advise(running.instance)),
        }
        with self._lock:
            self._found[running.container_id] = found

    def figures(self) -> dict[str, dict[str, Any]]:
        """All that was read, by container, in plain types."""
        with self._lock:
            return dict(self._found)


def needed_bytes(counted: UsageCounters) -> int | None:
    """Bytes that could not have been given back at the peak: of files it is known at this moment only."""
    return None if counted.peak_bytes is None else max(0, counted.peak_bytes - counted.files_bytes)
