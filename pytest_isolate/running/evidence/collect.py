"""Read state and log of the services of a failed test from the engine. For a test that passes nothing is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from pytest_isolate.engine.api import Engine, LogLine
from pytest_isolate.errors import EngineError, EngineUnreachable, ObjectNotFound
from pytest_isolate.model.service import Scope
from pytest_isolate.planning.placement import InstanceKey
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.evidence.render import Evidence, commands_inside, describe_state, split_phases
from pytest_isolate.running.evidence.stored_log import StoredLog
from pytest_isolate.text import redact

# Time for the engine to read a line that a service has written. Of 18,000 lines, on two processors with work for five
# or more, one in a hundred came more than 30 ms late, and the last one 82 ms.
LATE_S = 0.15
# Limit for the waits for late lines of all tests of a process together: where hundreds fail, most do not wait.
_PATIENCE_S = 30.0


class ServiceUse(Struct, frozen=True, kw_only=True):
    """A test's use of an instance; `is_settled` where its last lines were waited for."""

    test: str
    ended: float
    is_settled: bool = False


class EvidenceCollector:
    """Reads states and logs, and notes for each instance which tests used it just before."""

    def __init__(self, engine: Engine, clock: Clock, others: Callable[[InstanceKey, float], Sequence[str]]) -> None:
        self._engine = engine
        self._clock = clock
        self._others = others
        self._before: dict[InstanceKey, tuple[ServiceUse, ...]] = {}
        self._patience_s = _PATIENCE_S

    def note_use(self, keys: Sequence[InstanceKey], use: ServiceUse) -> None:
        """Note which instances a test used, when it has ended."""
        for key in keys:
            # A test that waited for its own last lines has waited for those of all tests before it.
            recent = () if use.is_settled else self._before.get(key, ())
            self._before[key] = (use, *(u for u in recent if not u.is_settled and use.ended < u.ended + LATE_S))

    def wait_for_late_lines(self, ended: float) -> bool:
        """Wait until the engine has read what was written before `ended`; False where the time for that is used up."""
        late_s = ended + LATE_S - self._clock.time()
        if late_s <= 0:
            return True
        if late_s > self._patience_s:
            return False
        self._patience_s -= late_s
        self._clock.wait(threading.Event(), late_s)
        return True

    def examine(
        self,
        used: Sequence[RunningInstance],
        began: Sequence[tuple[str, float]],
        until: float,
        *,
        is_first: bool,
        store: Callable[[str], StoredLog] | None = None,
    ) -> list[Evidence]:
        """Return state and lines of each service in these phases; of a test's own services, of their start too.

        `store` opens the file that gets all lines of a service.
        """
        found: list[Evidence] = []
        for running in used:
            try:
                stored = store(str(running.instance.key.service)) if store else None
                found.append(self._examine(running, began, until, stored, is_first=is_first))
            except EngineUnreachable as error:  # so it is asked no more
                return [*found, _unknown(running, error.what)]
            except ObjectNotFound:
                found.append(_unknown(running, "its container is gone"))
            except EngineError as error:
                found.append(_unknown(running, error.what))
        return found

    def _examine(
        self,
        running: RunningInstance,
        began: Sequence[tuple[str, float]],
        until: float,
        stored: StoredLog | None,
        *,
        is_first: bool,
    ) -> Evidence:
        since, key = began[0][1], running.instance.key
        is_own = is_first and key.place.scope is Scope.FUNCTION
        # The state first: when the engine says that a container has ended, it has read all of its lines.
        state = self._engine.inspect_container(running.container_id)
        log = _Reading(self._engine, running, since, until)
        try:
            lines = log.read(running.started_at if is_own else since)
            parts = split_phases(lines, began, is_own=is_own, write=stored.write if stored else None)
        finally:
            where = stored.close() if stored else ""
        return Evidence(
            service=str(key.service),
            container=state.name,
            state=describe_state(state, since),
            is_running=state.is_running,
            parts=parts,
            others=tuple(self._others(key, since - LATE_S)),
            is_kept=running.domain.is_kept,
            commands=commands_inside(self._engine.commands, state.name, is_running=state.is_running),
            before=self._describe_before(key, since, log.earliest) if is_first else "",
            stored=where,
        )

    def _describe_before(self, key: InstanceKey, since: float, earliest: float) -> str:
        uses = [use for use in self._before.get(key, ()) if not use.is_settled and earliest < use.ended + LATE_S]
        if not uses:
            return ""
        first, *more = (f"until {1000 * (since - use.ended):.0f} ms before" for use in uses)
        others = [f", {use.test} {until}" for use, until in zip(uses[1:], more, strict=True)]
        whose = "their" if others else "its"
        return f"{uses[0].test} used it {first}{''.join(others)}: first lines may be {whose} last"


class _Reading:
    """The log of a service, read once and line by line; `earliest` is when the first line of the test came."""

    def __init__(self, engine: Engine, running: RunningInstance, since: float, until: float) -> None:
        self._engine = engine
        self._running = running
        self._since = since
        self._until = until
        self.earliest = float("inf")

    def read(self, start: float) -> Iterator[LogLine]:
        """Each line from `start` on that came in time, without the passwords in it."""
        secrets = self._running.secrets
        for line in self._engine.read_log_lines(self._running.container_id, start):
            if line.when >= self._until:
                continue
            if self._since <= line.when < self.earliest:
                self.earliest = line.when
            text = redact(line.text, secrets)
            yield line if text == line.text else LogLine(line.when, text)


def _unknown(running: RunningInstance, why: str) -> Evidence:
    service = str(running.instance.key.service)
    return Evidence(service=service, container="", state=f"not known: {why}", is_running=False, parts=())
