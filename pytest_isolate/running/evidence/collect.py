"""Asks the engine what became of the services of a test that has failed. Nothing is asked for one that passes."""

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

# How late the engine may read a line that a service has written. Of 18,000 lines, on two processors with work for five
# or more, one in a hundred came more than 30 ms late, and the last one 82 ms.
LATE_S = 0.15
# What all tests of a process may wait in sum for lines that are late: where hundreds fail, most wait no more.
_PATIENCE_S = 30.0


class ServiceUse(Struct, frozen=True, kw_only=True):
    """A test that has used an instance; `is_settled` where its last lines were waited for."""

    test: str
    ended: float
    is_settled: bool = False


class EvidenceCollector:
    """Reads states and logs; knows for each instance who has used it just before."""

    def __init__(self, engine: Engine, clock: Clock, others: Callable[[InstanceKey, float], Sequence[str]]) -> None:
        self._engine = engine
        self._clock = clock
        self._others = others
        self._before: dict[InstanceKey, tuple[ServiceUse, ...]] = {}
        self._patience_s = _PATIENCE_S

    def note_use(self, keys: Sequence[InstanceKey], use: ServiceUse) -> None:
        """A test has ended."""
        for key in keys:
            # Whoever has waited for his own last lines has waited for those of all before him.
            recent = () if use.is_settled else self._before.get(key, ())
            self._before[key] = (use, *(u for u in recent if not u.is_settled and use.ended < u.ended + LATE_S))

    def wait_for_late_lines(self, ended: float) -> bool:
        """Wait until the engine has read what was written up to then, however late; says whether there was time."""
        late_s = ended + LATE_S - self._clock.time()
        if late_s <= 0:
            return True
        if late_s > self._patience_s:
            return False
        self._patience_s -= late_s
        self._clock.wait(threading.Event(), late_s)
        return True

    def examine(
        self, used: Sequence[RunningInstance], began: Sequence[tuple[str, float]], until: float, *, whole: bool
    ) -> list[Evidence]:
        """What became of each service in these phases, up to a moment.

        With `whole` also what came before, of those of this test alone. An engine that does not answer is asked once.
        """
        found: list[Evidence] = []
        for running in used:
            try:
                found.append(self._examine(running, began, until, whole=whole))
            except EngineUnreachable as error:
                return [*found, _unknown(running, error.what)]
            except ObjectNotFound:
                found.append(_unknown(running, "its container is gone"))
            except EngineError as error:
                found.append(_unknown(running, error.what))
        return found

    def _examine(
        self, running: RunningInstance, began: Sequence[tuple[str, float]], until: float, *, whole: bool
    ) -> Evidence:
        since, key = began[0][1], running.instance.key
        is_own = whole and key.place.scope is Scope.FUNCTION
        # The state first: of one that has ended the engine has read all lines before it says so.
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
            before=self._describe_before(key, since, lines) if whole else "",
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
        told = [f"until {1000 * (since - use.ended):.0f} ms before" for use in uses]
        more = [f", {use.test} {until}" for use, until in zip(uses[1:], told[1:], strict=True)]
        whose = "their" if more else "its"
        return f"{uses[0].test} used it {told[0]}{''.join(more)}: first lines may be {whose} last"


def _unknown(running: RunningInstance, why: str) -> Evidence:
    service = str(running.instance.key.service)
    return Evidence(service=service, container="", state=f"not known: {why}", is_running=False, parts=())
