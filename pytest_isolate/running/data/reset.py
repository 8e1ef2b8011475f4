"""Brings a shared service back to a clean state after a test that has used it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Collection

from pytest_isolate.engine.api import Engine, Session
from pytest_isolate.errors import EngineError, IsolateError, ResetError
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.identity import Run
from pytest_isolate.model.probes import Command, Http
from pytest_isolate.model.service import RESET_METHOD, Pristine, Reset, ResetFunction, describe_reset
from pytest_isolate.planning.placement import InstanceKey
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.running import InstanceObserver, RunningInstance, describe_instance
from pytest_isolate.running.data import user_function
from pytest_isolate.running.data.backends.base import BackendError, DataBackend
from pytest_isolate.running.data.backends.client import open_session
from pytest_isolate.running.data.backends.table import environment_of
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.text import redact

# The end of what a command or a server says is where the reason stands; all of it may be a whole page.
_MOST_LINES = 30
_TICK_S = 0.01


class Failed(Exception):
    """A reset that failed; `str()` of it is what was found."""


class Resetter(InstanceObserver):
    """The resets of this process's instances."""

    def __init__(
        self,
        engine: Engine,
        run: Run,
        clock: Clock,
        timeline: Timeline,
        open_backend: Callable[[RunningInstance], DataBackend],
        failures: tuple[type[BaseException], ...],
    ) -> None:
        self._engine = engine
        self._run = run
        self._clock = clock
        self._timeline = timeline
        self._open_backend = open_backend
        self._failures = failures
        self._lock = threading.Lock()
        self._pristine: dict[InstanceKey, PristineState] = {}

    def available(self, running: RunningInstance, handle: Service) -> None:  # noqa: ARG002  # the event's signature
        """Prepare the first reset of an instance that has become ready, in the thread that calls."""
        if isinstance(running.spec.reset, Pristine):
            self._state(running).prepare()

    def restarted(self, running: RunningInstance) -> None:
        """After a stop or kill, reopen what was open in the instance."""
        with self._lock:
            state = self._pristine.get(running.instance.key)
        if state:
            state.reopen()

    def reset(self, reset: Reset, running: RunningInstance, handle: Service, test: str) -> None:
        """Return when an instance is clean; ResetError says what was tried and found."""
        try:
            with self._timeline.measure("reset", running.instance.key.words):
                self._carry_out(reset, running, handle)
        except (Failed, BackendError, EngineError) as error:
            found = [error.what, *error.found] if isinstance(error, EngineError) else [str(error)]
            raise self._error(reset, running, test, found) from error

    def forget(self, keys: Collection[InstanceKey]) -> None:
        """Close what is open for instances that are gone."""
        with self._lock:
            states = [self._pristine.pop(key) for key in keys if key in self._pristine]
        for state in states:
            state.close(0)

    def close(self, timeout_s: float) -> None:
        """Prepare nothing more."""
        with self._lock:
            states, self._pristine = list(self._pristine.values()), {}
        for state in states:
            state.close(timeout_s)

    def _carry_out(self, reset: Reset, running: RunningInstance, handle: Service) -> None:
        match reset:
            case Pristine():
                self._state(running).reset()
            case Command(argv=argv):
                self._run_command(running, argv)
            case Http():
                view = running.view
                call(reset, view.endpoints[reset.port or view.spec.ports[0]], view.spec.timeout_s)
            case ResetFunction(function=function):
                self._call_function(function, handle)

    def _state(self, running: RunningInstance) -> PristineState:
        with self._lock:
            return self._pristine.setdefault(running.instance.key, PristineState(lambda: self._open_backend(running)))

    def _run_command(self, running: RunningInstance, argv: tuple[str, ...]) -> None:
        spec = running.spec
        environment = environment_of(running, spec.database or "")
        session = open_session(self._engine, running.container_id, argv, environment)
        try:
            output = self._read_to_end(session, spec.timeout_s)
            code = session.exit_code()
        finally:
            session.close()
        if code != 0:
            raise Failed(f"exit code {code}; {_shorten(output)}")

    def _read_to_end(self, session: Session, timeout_s: float) -> bytes:
        deadline, output = self._clock.now() + timeout_s, b""
        try:
            while (piece := session.receive(max(_TICK_S, deadline - self._clock.now()))) is not None:
                output += piece[1]
                if self._clock.now() >= deadline:
                    break
            else:
                return output
        except EngineError:
            if self._clock.now() < deadline:
                raise
        raise Failed(f"it has not ended within {timeout_s:g} s; {_shorten(output)}")

    def _call_function(self, function: Callable[[Service], object], handle: Service) -> None:
        try:
            user_function.call(function, handle)
        except self._failures as error:
            raise Failed(user_function.describe_failure(error)) from error

    def _error(self, reset: Reset, running: RunningInstance, test: str, found: list[str]) -> ResetError:
        secrets = (*running.secrets, running.view.password or "")
        return ResetError(
            describe_instance(running.instance, self._run),
            test,
            tried=redact(describe_reset(reset), secrets),
            found=[redact(line, secrets) for line in found],
            do=[
                f"it is declared at {running.spec.location}",
                "it runs already, so tests that come later find it as the reset has left it"
                if running.spec.external
                else "tests that come later are given a new instance",
            ],
        )


class PristineState:
    """The preset's own reset of one instance: what can be done ahead is done while tests run."""

    def __init__(self, open_backend: Callable[[], DataBackend]) -> None:
        self._open_backend = open_backend
        self._lock = threading.Lock()
        self._backend: DataBackend | None = None
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def prepare(self) -> None:
        """Have the next reset wait for less. What goes wrong here will again when it matters, and is told then."""
        with self._lock:
            if not self._is_closed:
                try:
                    self._opened().prepare_reset()
                except IsolateError:
                    self._let_go()

    def reset(self) -> None:
        """Return when the state is the pristine one, and go on in the background with what the next reset needs."""
        with self._lock:
            try:
                self._opened().reset()
            except BaseException:  # one that was interrupted would give the next one the rest of its answer
                self._let_go()
                raise
        self._thread = threading.Thread(target=self.prepare, name="isolate-prepare-reset", daemon=True)
        self._thread.start()

    def reopen(self) -> None:
        """Close what has ended with the service; the next reset opens it anew."""
        with self._lock:
            self._let_go()

    def close(self, timeout_s: float) -> None:
        """Prepare nothing more. Safe to repeat."""
        self._is_closed = True
        if self._thread:
            self._thread.join(timeout_s)
        if self._lock.acquire(timeout=timeout_s or -1):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def _opened(self) -> DataBackend:
        if self._backend is None:
            self._backend = self._open_backend()
        return self._backend

    def _let_go(self) -> None:
        if self._backend:
            self._backend.close()
            self._backend = None


def call(reset: Http, endpoint: Endpoint, timeout_s: float) -> None:
    """Ask over HTTP; Failed when the status is not what it should be, or there is none in time."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
    try:
        connection.request(
            reset.method or RESET_METHOD, reset.path, headers={"Connection": "close", "Content-Length": "0"}
        )
        answer = connection.getresponse()
        body = answer.read()
    except TimeoutError:
        raise Failed(f"no answer from {endpoint.address} within {timeout_s:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"no answer from {endpoint.address}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        connection.close()
    if not (answer.status == reset.status if reset.status else answer.status < 400):
        raise Failed(f"status {answer.status} {answer.reason} from {endpoint.address}; {_shorten(body)}")


def _shorten(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    cut = ["..."] if len(lines) > _MOST_LINES else []
    return "\n".join([*cut, *lines[-_MOST_LINES:]]) or "it said nothing"
