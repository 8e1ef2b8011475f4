"""Read state and log of the services of a failed test from the engine. For a test that passes nothing is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.engine.api import Engine, LogLine
from pytest_isolate.errors import EngineError, EngineUnreachable, ObjectNotFound
from pytest_isolate.model.scope import Scope
from pytest_isolate.planning.placement import InstanceKey
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.evidence.render import Evidence, commands_inside, describe_state, split_phases
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
        self, used: Sequence[RunningInstance], began: Sequence[tuple[str, float]], until: float, *, is_first: bool
    ) -> list[Evidence]:
        """Return state and lines of each service in these phases, up to a moment.

        A test's first report holds lines of the start too, where the service is the test's own. An engine that does not
        answer is asked once.
        """
        found: list[Evidence] = []
        for running in used:
            try:
                found.append(self._examine(running, began, until, is_first=is_first))
            except EngineUnreachable as error:
                return [*found, _unknown(running, error.what)]
            except ObjectNotFound:
                found.append(_unknown(running, "its container is gone"))
            except EngineError as error:
                found.append(_unknown(running, error.what))
        return found

    def _examine(
        self, running: RunningInstance, began: Sequence[tuple[str, float]], until: float, *, is_first: bool
    ) -> Evidence:
        since, key = began[0][1], running.instance.key
        is_own = is_first and key.place.scope is Scope.FUNCTION
        # The state first: when the engine says that a container has ended, it has read all of its lines.
        state = self._engine.inspect_container(running.container_id)
        lines = self._read(running, running.started_at if is_own else since, until)
        return Evidence(
            service=str(key.service),
            container=state.name,
            state=describe_state(state, since),
            is_running=state.is_running,
            parts=split_phases(lines, began, is_own=is_own),
            others=tuple(self._others(key, since - LATE_S)),
            is_kept=running.domain.is_kept,
            commands=commands_inside(self._engine.commands, state.name, is_running=state.is_running),
            before=self._describe_before(key, since, lines) if is_first else "",
        )

    def _read(self, running: RunningInstance, since: float, until: float) -> list[LogLine]:
        lines = self._engine.read_log_lines(running.container_id, since)
        return [replace(line, text=redact(line.text, running.secrets)) for line in lines if line.when < until]

    def _describe_before(self, key: InstanceKey, since: float, lines: Sequence[LogLine]) -> str:
        uses = [
            use
            for use in self._before.get(key, ())
            if not use.is_settled and any(since <= line.when < use.ended + LATE_S for line in lines)
        ]
        if not uses:
            return ""
        first, *more = (f"until {1000 * (since - use.ended):.0f} ms before" for use in uses)
        others = [f", {use.test} {until}" for use, until in zip(uses[1:], more, strict=True)]
        whose = "their" if others else "its"
        return f"{uses[0].test} used it {first}{''.join(others)}: first lines may be {whose} last"


def _unknown(running: RunningInstance, why: str) -> Evidence:
    service = str(running.instance.key.service)
    return Evidence(service=service, container="", state=f"not known: {why}", is_running=False, parts=())
