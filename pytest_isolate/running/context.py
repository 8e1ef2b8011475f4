"""The parts of a run that almost everything needs."""

from __future__ import annotations

from contextlib import AbstractContextManager

from msgspec import Struct

from pytest_isolate.engine.api import Engine
from pytest_isolate.model.identity import Run
from pytest_isolate.planning.placement import Instance
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.timeline import Timeline


class RunContext(Struct, frozen=True, kw_only=True):
    """The engine, the run as this process sees it, the time, and the record of what takes how long."""

    engine: Engine
    run: Run
    clock: Clock
    timeline: Timeline

    def measure(self, what: str, instance: Instance) -> AbstractContextManager[None]:
        """Record how long a step of an instance takes, also when it fails."""
        return self.timeline.measure(what, instance.key.words)
