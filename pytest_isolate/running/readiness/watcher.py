"""From started to ready: which probes are asked, and what is said when the container dies or the time is over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial

from pytest_isolate.engine.api import ContainerState, LogTail, Progress
from pytest_isolate.errors import EngineError, EngineUnreachable, NotReadyError, ObjectNotFound, StartError
from pytest_isolate.model.probes import Answer, Command, Dead, NotYet, OwnWait, Ports, Probe, Tcp
from pytest_isolate.model.service import OF_SERVICE
from pytest_isolate.running.containers.by_hand import build_request_by_hand, find_hidden
from pytest_isolate.running.containers.memory import advise_if_full
from pytest_isolate.running.containers.output import Outputs
from pytest_isolate.running.containers.running import RunningInstance, describe_instance
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.images.images import image_tag
from pytest_isolate.running.readiness import probing
from pytest_isolate.running.readiness.exits import ExitWatcher
from pytest_isolate.running.readiness.forwarder import ForwarderCheck
from pytest_isolate.running.readiness.log_questions import LogQuestions, ReadLines
from pytest_isolate.running.readiness.loop import Outcome, wait_until_ready
from pytest_isolate.running.readiness.port_questions import PortQuestions
from pytest_isolate.running.readiness.restarts import find_pause
from pytest_isolate.running.testcontainers.modules import Modules
from pytest_isolate.text import count, redact

_LOG_LINES = 20
# The end of a log that is followed comes 20 ms after the death.
_LOG_END_S = 1.0
# A service that gives nothing to ask is taken for started when it is still alive after this long.
_SETTLE_S = 0.5
_KILLED = 128 + 9
_LISTEN = (
    "have the server listen on 0.0.0.0 at a declared port; where nothing is meant to listen there, leave the port out, "
    "or name what to ask: ready=http(...)"
)


class Watcher:
    """Waits until containers are ready."""

    def __init__(self, context: RunContext, exit_watcher: ExitWatcher, modules: Modules) -> None:
        self.context = context
        self.exit_watcher = exit_watcher
        self.modules = modules
        self.outputs = Outputs(context.engine)

    def wait_until_ready(
        self,
        running: RunningInstance,
        started_at: float,
        raise_if_closing: Callable[[], None],
        *,
        is_first: bool = True,
    ) -> None:
        """Return when it is ready; StartError when it dies, NotReadyError when it takes longer than declared."""
        try:
            self._wait_until_ready(running, started_at, raise_if_closing, is_first=is_first)
        finally:
            self.outputs.drop(running.container_id)

    def _wait_until_ready(
        self, running: RunningInstance, started_at: float, raise_if_closing: Callable[[], None], *, is_first: bool
    ) -> None:
        engine = self.context.engine
        died = self.exit_watcher.watch(running.container_id)
        # It may have died before this process listened for its id.
        if not engine.inspect_container(running.container_id).is_running:
            died.set()
        # Followed from here: after an exit a log can be asked for only 0.1 s later, when the network is gone.
        with closing(engine.follow_log(running.container_id, _LOG_LINES)) as log:
            _Wait(self, running, died, log, raise_if_closing, is_first=is_first).run(started_at)

    def has_failed(self, running: RunningInstance) -> bool:
        """Return true if a service without ports has ended with an error after it was ready: tests cannot notice it."""
        if running.spec.ports or not self.exit_watcher.has_failed(running.container_id):
            return False
        try:
            return bool(self.context.engine.inspect_container(running.container_id).exit_code)
        except ObjectNotFound:
            return False

    def failure_error(self, running: RunningInstance) -> StartError:
        """Return the error of a service that has failed after it was ready."""
        engine = self.context.engine
        state = engine.inspect_container(running.container_id)
        how = f"{_describe(state)}, {state.ended_at - state.started_at:.1f} s after its start; last log lines:"
        log = engine.read_logs(running.container_id, tail=_LOG_LINES)
        return StartError(
            describe_instance(running.instance, self.context.run),
            "has failed after it was taken for ready",
            found=[how, *_last_lines(log, running)],
            do=[_run_by_hand(self.context, running), f"it is declared at {running.spec.location}"],
        )


class _Wait:
    def __init__(
        self,
        watcher: Watcher,
        running: RunningInstance,
        died: threading.Event,
        log: LogTail,
        raise_if_closing: Callable[[], None],
        *,
        is_first: bool,
    ) -> None:
        self._context = watcher.context
        self._engine = watcher.context.engine
        self._exit_watcher = watcher.exit_watcher
        self._modules = watcher.modules
        self._outputs = watcher.outputs
        self._running = running
        self._died = died
        self._log = log
        self._is_first = is_first
        self._probes = choose_probes(running, is_first=is_first)
        self._began = self._context.clock.now()
        self._exit: ContainerState | None = None
        self._restarts = 0
        self._raise_if_closing = raise_if_closing
        self._forwarder = ForwarderCheck(self._engine, running.container_id, self._context.clock.now)
        self._silent: Mapping[int, str] = {}
        self._logs: LogQuestions | None = None

    def run(self, started_at: float) -> None:
        if not self._probes:
            self._settle()
            return
        self._tell(self._probes[0])
        output = self._outputs.take(self._running.container_id)
        self._logs = LogQuestions(self._read_lines_since(started_at), self._context.clock.now, output)
        target = self._target(self._logs)
        ports = PortQuestions(partial(self._ask_probe, target), self._context.clock.now)
        self._silent = ports.silent
        try:
            outcome = wait_until_ready(
                self._probes,
                ask=partial(self._ask, target, ports),
                died=self._died,
                read_exit=self._read_death,
                clock=self._context.clock,
                timeout_s=self._running.spec.timeout_s,
            )
        finally:
            self._modules.settle(self._running)
            self._logs.close()
        if isinstance(outcome.answer, Dead):
            self._check_end(outcome.answer)
        if isinstance(outcome.answer, NotYet):
            raise self._not_ready_error(outcome.answer, outcome)
        if ports.silent:
            self._context.timeline.note(self._describe_silent(ports.silent))

    def _settle(self) -> None:
        """Give a service that has nothing to ask a moment to die in, each time that it is started again."""
        while self._context.clock.wait(self._died, _SETTLE_S):
            self._died.clear()
            death = self._read_death()
            if isinstance(death, Dead):
                self._check_end(death)
                return

    def _target(self, logs: LogQuestions) -> probing.Target:
        running = self._running
        return probing.Target(
            container_id=running.container_id,
            endpoints=dict(running.view.endpoints),
            main_port=running.spec.ports[0] if running.spec.ports else None,
            logs=logs,
        )

    def _ask(self, target: probing.Target, ports: PortQuestions, probe: Probe) -> Answer:
        self._raise_if_closing()
        answer = ports.ask(probe) if isinstance(probe, Ports) else self._ask_probe(target, probe)
        if isinstance(answer, NotYet):
            reasons = [redact(answer.reason, self._running.secrets), *self._explain(probe, answer)]
            self._tell(probe, f": {'; '.join(reasons)}")
        return answer

    def _ask_probe(self, target: probing.Target, probe: Probe) -> Answer:
        if isinstance(probe, OwnWait):
            return self._modules.ask(self._running)
        return probing.ask(probe, target, self._engine)

    def _describe_silent(self, silent: Mapping[int, str]) -> str:
        """Tell of declared ports on which nothing listens; the service is used all the same."""
        running, ports = self._running, ", ".join(map(str, silent))
        where = "port" if len(silent) == 1 else "ports"
        return (
            f"service {describe_instance(running.instance, self._context.run)} is ready, but nothing answers at its "
            f"{where} {ports}; leave out what is not meant to answer, then it is ready sooner ({running.spec.location})"
        )

    def _explain(self, probe: Probe, answer: NotYet) -> list[str]:
        """Return what the container shows of a port that does not answer here; nothing where it shows no more."""
        asked = [probe.port or self._running.spec.ports[0]] if probe.needs_port else []
        ports = self._silent if isinstance(probe, Ports) else asked
        addresses = {port: self._running.view.endpoints[port].address for port in ports}
        return self._forwarder.explain(addresses, answer.reason)

    def _tell(self, probe: Probe, said: str = "") -> None:
        self._context.timeline.on_progress(Progress(text=f"asks {_describe_question(probe, self._running)}{said}"))

    def _check_end(self, answer: Dead) -> None:
        """Raise what a death means; nothing where the service was to come to its end."""
        state = self._exit or self._engine.inspect_container(self._running.container_id)
        if self._running.spec.may_end and state.exit_code == 0:
            return
        raise self._own_wait_error(answer) if state.is_running else self._death_error(state)

    def _read_death(self) -> Dead | NotYet | None:
        """Return how it has ended; NotYet where it was started again, None where it lives."""
        self._exit = self._read_exit()
        if self._exit is None:
            return None
        return NotYet("it was started again") if self._restart(self._exit) else Dead(_describe(self._exit))

    def _restart(self, state: ContainerState) -> bool:
        """Start it again where its policy says so; return true if it was."""
        spec, clock = self._running.spec, self._context.clock
        if spec.may_end and state.exit_code == 0:
            return False
        pause_s = find_pause(spec.container.restart, state.exit_code, self._restarts)
        if pause_s is None or clock.now() - self._began + pause_s > spec.timeout_s:
            return False
        self._context.timeline.on_progress(Progress(text=f"starts it again: {_describe(state)}"))
        clock.wait(threading.Event(), pause_s)
        self._raise_if_closing()
        self._restarts += 1
        self._outputs.listen(self._running.container_id, spec)
        started_at = clock.time()
        self._engine.start_container(self._running.container_id)
        if self._logs:
            self._logs.begin(self._read_lines_since(started_at), self._outputs.take(self._running.container_id))
        return True

    def _read_lines_since(self, started_at: float) -> ReadLines:
        return partial(self._engine.read_log_lines, self._running.container_id, started_at)

    def _read_exit(self) -> ContainerState | None:
        """Return how it has ended; None where it lives, because the exit event belongs to an earlier start."""
        code = self._exit_watcher.exit_code(self._running.container_id)
        # The engine answers only when it has taken the container's network apart: 0.2 s after it has told of the death.
        if self._is_first and code not in (None, _KILLED):
            return ContainerState(is_running=False, exit_code=code)
        state = self._engine.inspect_container(self._running.container_id)
        if state.is_running and not self._exit_watcher.is_broken:
            return None
        if state.is_running:
            raise EngineUnreachable(
                "the engine's event stream ended while services were starting", do="see whether the engine restarted"
            )
        return state

    def _death_error(self, state: ContainerState) -> StartError:
        running, spec = self._running, self._running.spec
        waited_s = self._context.clock.now() - self._began
        lines = _last_lines(self._read_to_end(), running)
        probes = " and ".join(_describe_question(probe, running) for probe in choose_probes(running))
        do = [advise_if_full("\n".join(lines), running) or _run_by_hand(self._context, running)]
        if _may_be_out_of_memory(state):
            do = ["give it more memory: memory=..."]
        policy, times = spec.container.restart, count(self._restarts, "time")
        restarts = [f"start it again, {times}: its restart policy is {policy!r}"] if self._restarts else []
        return StartError(
            describe_instance(running.instance, self._context.run),
            "ended before it was ready",
            tried=[f"start its container, and wait {waited_s:.1f} s{f' for {probes}' if probes else ''}", *restarts],
            found=[f"{_describe(state)}; last log lines:", *lines],
            do=[*do, f"it is declared at {spec.location}"],
        )

    def _not_ready_error(self, answer: NotYet, outcome: Outcome) -> NotReadyError:
        assert outcome.probe is not None
        running = self._running
        reason = redact(answer.reason, running.secrets)
        times = "" if isinstance(outcome.probe, OwnWait) else f", {outcome.asked} times"
        passed = self._probes[: self._probes.index(outcome.probe)]
        answered = [f"{_describe_question(probe, running)} has succeeded" for probe in passed]
        is_implied = isinstance(outcome.probe, Tcp) and outcome.probe not in running.spec.ready
        unused = "leave out a port on which nothing listens, " if is_implied else ""
        do = f"see whether ready= asks the right thing, give it longer: timeout=..., {unused}or look inside"
        if isinstance(outcome.probe, Ports):
            do = f"{_LISTEN}; if it takes longer: timeout=...; or look inside"
        return NotReadyError(
            describe_instance(running.instance, self._context.run),
            f"was not ready after {outcome.waited_s:.1f} s",
            tried=[*answered, f"{_describe_question(outcome.probe, running)}{times}; last answer: {reason}"],
            found=[
                *self._explain(outcome.probe, answer),
                "its container runs; last log lines:",
                *_last_lines(self._read_log(), running),
            ],
            do=f"{do}: --isolate-keep=failed; declared at {running.spec.location}",
        )

    def _own_wait_error(self, answer: Dead) -> NotReadyError:
        running, module = self._running, self._running.spec.module
        assert module is not None
        return NotReadyError(
            describe_instance(running.instance, self._context.run),
            f"was not ready: its {module.name} has given up",
            tried=f"start() of {module.name}",
            found=[
                *redact(answer.reason, running.secrets).splitlines(),
                "its container runs; last log lines:",
                *_last_lines(self._read_log(), running),
            ],
            do="see whether the module and its image go together, or look inside: --isolate-keep=failed; "
            f"declared at {running.spec.location}",
        )

    def _read_to_end(self) -> str:
        if self._restarts:  # what was followed has ended with the first life
            return self._read_log()
        try:
            return self._log.read_to_end(_LOG_END_S)
        except EngineError:
            return self._read_log()

    def _read_log(self) -> str:
        return self._engine.read_logs(self._running.container_id, tail=_LOG_LINES)


def _last_lines(log: str, running: RunningInstance) -> list[str]:
    lines = redact(log.strip(), running.secrets).splitlines()[-_LOG_LINES:]
    return ["  " + line for line in lines] or ["  (it wrote nothing)"]


def choose_probes(running: RunningInstance, *, is_first: bool = True) -> tuple[Probe, ...]:
    """The declared probes; else the image's own health check, asked more often; else a connection to each port.

    What is asked inside of the container only is followed by the ports, and asked again: a server listens before it is
    done with its start.

    A module's wait comes before what is declared besides. It is for a first start, and may wait for lines that no other
    start writes: after one of these, the main port has to answer.
    """
    if running.spec.module and running.spec.module.rehearse().has_wait:
        main = (Tcp(port=running.spec.ports[0]),) if running.spec.ports else ()
        own: tuple[Probe, ...] = (OwnWait(name=running.spec.module.name),) if is_first else main
        return own + running.spec.ready
    health = (Command(argv=running.image.health_command),) if running.image.health_command else ()
    inside = running.spec.ready or health
    if not inside:
        return tuple(Tcp(port=port) for port in running.spec.ports)
    # Also the temporary server of an image that initialises says yes to what is asked inside, and is not reached.
    if all(probe.is_inside for probe in inside) and not running.spec.container.network.startswith(OF_SERVICE):
        return (*inside, Ports(ports=running.spec.ports), *inside) if running.spec.ports else inside
    return tuple(probe for probe in inside if probe != Ports(ports=()))


def _run_by_hand(context: RunContext, running: RunningInstance) -> str:
    request = build_request_by_hand(running, image_tag(running.spec))
    command = context.engine.commands.run(request, find_hidden(running))
    return f"run it by hand: {redact(command, running.secrets)}"


def _describe(state: ContainerState) -> str:
    reason = ""
    if _may_be_out_of_memory(state):
        reason = ", out of memory" if state.is_out_of_memory else ", out of memory or killed"
    return f"container exited with code {state.exit_code}{reason}"


def _may_be_out_of_memory(state: ContainerState) -> bool:
    """Docker 20.10 did not notice 2 of 36 containers that had run out of memory; all exited with SIGKILL's code."""
    return state.is_out_of_memory or state.exit_code == _KILLED


def _describe_question(probe: Probe, running: RunningInstance) -> str:
    if isinstance(probe, Ports):
        return ", ".join(f"tcp port {port} at {running.view.endpoints[port].address}" for port in probe.ports)
    if not probe.needs_port:
        return str(probe)
    return f"{probe} at {running.view.endpoints[probe.port or running.spec.ports[0]].address}"
