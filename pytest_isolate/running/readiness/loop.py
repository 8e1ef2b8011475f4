"""The one polling loop: until every probe is answered, the container dies, or the time is over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from msgspec import Struct

from pytest_isolate.model.probes import Answer, Dead, NotYet, Probe, Ready
from pytest_isolate.running.clock import Clock

_FIRST_PAUSE_S = 0.005
_GROWTH = 1.3
_LONGEST_PAUSE_S = 0.025
_LONGEST_DEAR_PAUSE_S = 0.2


class Outcome(Struct, frozen=True, kw_only=True):
    """End of a wait: the last answer (Ready, NotYet after the deadline, or Dead), and what it took."""

    answer: Answer
    probe: Probe | None
    asked: int
    waited_s: float


def wait_until_ready(
    probes: Sequence[Probe],
    *,
    ask: Callable[[Probe], Answer],
    died: threading.Event,
    read_exit: Callable[[], Dead | NotYet | None],
    clock: Clock,
    timeout_s: float,
) -> Outcome:
    """Ask each probe in turn until it answers Ready; the deadline is for all of them together."""
    started = clock.now()
    asked = 0
    for probe in probes:
        pause = _FIRST_PAUSE_S
        longest = _LONGEST_DEAR_PAUSE_S if probe.is_expensive else _LONGEST_PAUSE_S
        while True:
            answer = ask(probe)
            asked += 1
            if died.is_set():
                died.clear()  # before the question, so that a death behind it is heard
                answer = read_exit() or answer
            waited = clock.now() - started
            if isinstance(answer, Dead) or (isinstance(answer, NotYet) and waited >= timeout_s):
                return Outcome(answer=answer, probe=probe, asked=asked, waited_s=waited)
            if isinstance(answer, Ready):
                break
            clock.wait(died, min(pause, timeout_s - waited))
            pause = min(pause * _GROWTH, longest)
    return Outcome(answer=Ready(), probe=None, asked=asked, waited_s=clock.now() - started)
