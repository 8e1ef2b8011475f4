"""From started to ready: which probes are asked, and what is said when the container dies or the time is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing

from pytest_isolate.engine.api import ContainerState, Engine, LogTail, Progress, ProgressCallback
from pytest_isolate.errors import EngineError, EngineUnreachable, NotReadyError, StartError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.probes import (
    Answer,
    Command,
    Dead,
    Ended,
    Log,
    NotYet,
    OwnWait,
    Question,
    Tcp,
    describe_probe,
)
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.memory import advise_if_full
from pytest_isolate.running.containers.running import RunningInstance, describe_instance
from pytest_isolate.running.images.images import image_tag
from pytest_isolate.running.readiness import probing
from pytest_isolate.running.readiness.exits import ExitWatcher
from pytest_isolate.running.readiness.loop import Outcome, wait_until_ready
from pytest_isolate.running.testcontainers.modules import Modules
from pytest_isolate.text import redact

_LOG_LINES = 20
# The end of a log that is followed comes 20 ms after the death.
_LOG_END_S = 1.0
# A service that gives nothing to ask is taken for started when it is still alive after this long.
_SETTLE_S = 0.5
_KILLED = 128 + 9


class Watcher:
    """Waits until containers are ready."""

    def __init__(
        self,
        engine: Engine,
        run: Run,
        clock: Clock,
        exit_watcher: ExitWatcher,
        tell: ProgressCallback,
        modules: Modules | None = None,
    ) -> None:
        self._engine = engine
        self._run = run
        self._clock = clock
        self._exit_watcher = exit_watcher
        self._tell = tell
        self._modules = modules

    def wait_until_ready(
        self,
        running: RunningInstance,
        started_at: float,
        raise_if_closing: Callable[[], None],
        *,
        is_first: bool = True,
    ) -> None:
        """Return when it is ready; StartError when it dies, NotReadyError when it takes longer than declared.

        Of a container that was started before, the engine may tell only now that its earlier life has ended.
        """
        died = self._exit_watcher.watch(running.container_id)
        # It may have died before anybody listened for its id.
        if not self._engine.inspect_container(running.container_id).is_running:
            died.set()
        # Once it has died the engine reads its log only when its network is gone, 0.1 s later; who follows it has it.
        with closing(self._engine.follow_log(running.container_id, _LOG_LINES)) as log:
            self._wait(running, started_at, raise_if_closing, died, log, is_first=is_first)

    def _wait(
        self,
        running: RunningInstance,
        started_at: float,
        raise_if_closing: Callable[[], None],
        died: threading.Event,
        log: LogTail,
        *,
        is_first: bool,
    ) -> None:
        probes, began = choose_probes(running, is_first=is_first), self._clock.now()
        if not probes:
            self._clock.wait(died, _SETTLE_S)
            state = self._read_exit(running, is_first=is_first) if died.is_set() else None
            if state:
                raise self._death_error(running, state, began, log)
            return
        target = probing.Target(
            container_id=running.container_id,
            endpoints=dict(running.view.endpoints),
            main_port=running.spec.ports[0] if running.spec.ports else None,
            started_at=started_at,
        )

        def ask(probe: Question) -> Answer:
            raise_if_closing()
            if isinstance(probe, OwnWait):
                assert self._modules is not None
                answer = self._modules.ask(running)
            else:
                answer = probing.ask(probe, target, self._engine)
            if isinstance(answer, NotYet):
                reason = redact(answer.reason, running.secrets)
                self._tell(Progress(text=f"asks {describe_probe(probe)}{_address(probe, running)}: {reason}"))
            return answer

        exit_watcher: list[ContainerState] = []

        def read_exit() -> Dead | None:
            exit_watcher[:] = filter(None, [self._read_exit(running, is_first=is_first)])
            return Dead(_describe(exit_watcher[0])) if exit_watcher else None

        self._tell(Progress(text=f"asks {describe_probe(probes[0])}{_address(probes[0], running)}"))
        try:
            outcome = wait_until_ready(
                probes,
                ask=ask,
                is_dear=probing.is_expensive,
                died=died,
                read_exit=read_exit,
                clock=self._clock,
                timeout_s=running.spec.timeout_s,
            )
        finally:
            if self._modules:
                self._modules.settle(running)
        if isinstance(outcome.answer, Dead):
            state = exit_watcher[0] if exit_watcher else self._engine.inspect_container(running.container_id)
            if Ended() in probes and state.exit_code == 0:
                return
            if not state.is_running:
                raise self._death_error(running, state, began, log)
            raise self._own_wait_error(running, outcome.answer)
        if isinstance(outcome.answer, NotYet):
            raise self._not_ready_error(running, outcome.answer, outcome)

    def _read_exit(self, running: RunningInstance, *, is_first: bool) -> ContainerState | None:
        """How it has ended; None where it lives, and what was heard is of an earlier life."""
        code = self._exit_watcher.exit_code(running.container_id)
        # The engine answers only when it has taken the container's network apart: 0.2 s after it has told of the death.
        if is_first and code not in (None, _KILLED):
            return ContainerState(is_running=False, exit_code=code)
        state = self._engine.inspect_container(running.container_id)
        if state.is_running and not self._exit_watcher.is_broken:
            return None
        if state.is_running:
            raise EngineUnreachable(
                "the engine's event stream ended while services were starting", do="see whether the engine restarted"
            )
        return state

    def _death_error(self, running: RunningInstance, state: ContainerState, began: float, log: LogTail) -> StartError:
        spec, waited_s = running.spec, self._clock.now() - began
        lines = _last_lines(self._read_to_end(running, log), running)
        probes = " and ".join(f"{describe_probe(p)}{_address(p, running)}" for p in choose_probes(running))
        by_hand = self._engine.commands.run(image_tag(spec))
        do = advise_if_full("\n".join(lines), running) or f"run it by hand: {by_hand}"
        if _may_be_out_of_memory(state):
            do = "give it more memory: memory=..."
        return StartError(
            describe_instance(running.instance, self._run),
            "ended before it was ready",
            tried=f"start its container, and wait {waited_s:.1f} s{f' for {probes}' if probes else ''}",
            found=[f"{_describe(state)}; last log lines:", *lines],
            do=f"{do}; declared at {spec.location}",
        )

    def _not_ready_error(self, running: RunningInstance, answer: NotYet, outcome: Outcome) -> NotReadyError:
        spec = running.spec
        assert outcome.probe is not None
        where = _address(outcome.probe, running)
        reason = redact(answer.reason, running.secrets)
        times = "" if isinstance(outcome.probe, OwnWait) else f", {outcome.asked} times"
        return NotReadyError(
            describe_instance(running.instance, self._run),
            f"was not ready after {outcome.waited_s:.1f} s",
            tried=f"{describe_probe(outcome.probe)}{where}{times}; last answer: {reason}",
            found=["its container runs; last log lines:", *_last_lines(self._read_log(running), running)],
            do="see whether ready= asks the right thing, give it longer: timeout=..., or look inside: "
            f"--isolate-keep=failed; declared at {spec.location}",
        )

    def _own_wait_error(self, running: RunningInstance, answer: Dead) -> NotReadyError:
        """What a module of testcontainers has raised while it started."""
        assert running.spec.module is not None
        return NotReadyError(
            describe_instance(running.instance, self._run),
            f"was not ready: its {running.spec.module.name} has given up",
            tried=f"start() of {running.spec.module.name}",
            found=[
                *redact(answer.reason, running.secrets).splitlines(),
                "its container runs; last log lines:",
                *_last_lines(self._read_log(running), running),
            ],
            do="see whether the module and its image go together, or look inside: --isolate-keep=failed; "
            f"declared at {running.spec.location}",
        )

    def _read_to_end(self, running: RunningInstance, log: LogTail) -> str:
        try:
            return log.read_to_end(_LOG_END_S)
        except EngineError:
            return self._read_log(running)

    def _read_log(self, running: RunningInstance) -> str:
        return self._engine.read_logs(running.container_id, tail=_LOG_LINES)


def _last_lines(log: str, running: RunningInstance) -> list[str]:
    lines = redact(log.strip(), running.secrets).splitlines()[-_LOG_LINES:]
    return ["  " + line for line in lines] or ["  (it wrote nothing)"]


def choose_probes(running: RunningInstance, *, is_first: bool = True) -> tuple[Question, ...]:
    """The declared probes; else the image's own health check, asked more often; else a connection to each port.

    A module's wait comes before what is declared besides. It is for a first start, and may wait for lines that no other
    start writes: after one of these, the main port has to answer.
    """
    if running.spec.module and running.spec.module.rehearse().has_wait:
        main = (Tcp(port=running.spec.ports[0]),) if running.spec.ports else ()
        own: tuple[Question, ...] = (OwnWait(name=running.spec.module.name),) if is_first else main
        return own + running.spec.ready
    if running.spec.ready:
        return running.spec.ready
    if running.image.health_command:
        return (Command(argv=running.image.health_command),)
    return tuple(Tcp(port=port) for port in running.spec.ports)


def _describe(state: ContainerState) -> str:
    reason = ""
    if _may_be_out_of_memory(state):
        reason = ", out of memory" if state.is_out_of_memory else ", out of memory or killed"
    return f"container exited with code {state.exit_code}{reason}"


def _may_be_out_of_memory(state: ContainerState) -> bool:
    """Docker 20.10 did not notice 2 of 36 containers that had run out of memory; all exited with SIGKILL's code."""
    return state.is_out_of_memory or state.exit_code == _KILLED


def _address(probe: Question, running: RunningInstance) -> str:
    if isinstance(probe, (Log, Command, Ended, OwnWait)):
        return ""
    return f" at {running.view.endpoints[probe.port or running.spec.ports[0]].address}"
