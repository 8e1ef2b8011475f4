"""The work behind the methods of a handle: on a container of ours, or nothing but an error that says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, NoReturn, TypeAlias

from pytest_isolate.engine.api import BinaryExecResult, Capability, ExecResult, require
from pytest_isolate.errors import FaultError, IsolateError
from pytest_isolate.running.faults.target import Target


class ContainerControls:
    """The controls of one container; its faults are blocks, undone at their end, however they end.

    `before_end` is called before it is stopped or killed, `start_again` starts it and waits until it is ready.
    """

    def __init__(self, target: Target, before_end: Callable[[], None], start_again: Callable[[], None]) -> None:
        self._target = target
        self._engine = target.engine
        self._id = target.container_id
        self._before_end = before_end
        self.start = start_again

    def logs(self, tail: int | None) -> str:
        return self._engine.read_logs(self._id, tail=tail)

    def exec(self, argv: Sequence[str]) -> ExecResult:
        return self._engine.run_command(self._id, argv)

    def exec_binary(self, argv: Sequence[str]) -> BinaryExecResult:
        """Run a command inside, and take its output byte for byte."""
        return self._engine.run_binary_command(self._id, argv)

    def stop(self, timeout_s: int) -> None:
        self._before_end()
        self._engine.stop_container(self._id, timeout_s)

    def restart(self, timeout_s: int) -> None:
        self.stop(timeout_s)
        self.start()

    def kill(self) -> None:
        self._before_end()
        self._engine.kill_container(self._id)

    def pause(self) -> None:
        what = f"service {self._target.service!r} cannot be paused"
        require(self._engine.facts(), Capability.PAUSE, what, "stop() or kill() it: then it does not answer either")
        self._engine.pause_container(self._id)

    def unpause(self) -> None:
        self._engine.unpause_container(self._id)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._require_running("paused")
        try:
            self.pause()
            yield
        finally:
            # A test may have undone it meanwhile: unpaused, stopped or killed it by hand.
            if self._engine.inspect_container(self._id).is_paused:
                self.unpause()

    def stopped(self, timeout_s: int) -> AbstractContextManager[None]:
        return self._down("stopped", partial(self.stop, timeout_s))

    def killed(self) -> AbstractContextManager[None]:
        return self._down("killed", self.kill)

    @contextmanager
    def disconnected(self) -> Iterator[None]:
        self._require_running("disconnected")
        from pytest_isolate.running.faults.network import disconnect  # few tests need it

        with disconnect(self._target):
            yield

    def slow(self, *, latency: object, jitter: object, loss: object, rate: object) -> AbstractContextManager[None]:
        """Parse the values at once, so that a wrong one is told before the block begins."""
        from pytest_isolate.running.faults.impairment import parse_impairment  # few tests need it

        impairment = parse_impairment(latency, jitter, loss, rate)

        @contextmanager
        def slow_down_while() -> Iterator[None]:
            self._require_running("slowed down")
            from pytest_isolate.running.faults.network import slow_down  # few tests need it

            with slow_down(self._target, impairment):
                yield

        return slow_down_while()

    @contextmanager
    def _down(self, done: str, end: Callable[[], None]) -> Iterator[None]:
        self._require_running(done)
        try:
            end()
            yield
        finally:
            # A test may have started it meanwhile by hand.
            if not self._engine.inspect_container(self._id).is_running:
                self.start()

    def _require_running(self, done: str) -> None:
        """FaultError where there is nothing to take away: what ends the fault would do more than undo it."""
        state = self._engine.inspect_container(self._id)
        if state.is_running and not state.is_paused:
            return
        raise FaultError(
            self._target.service,
            f"cannot be {done}, because it does not run",
            found="its container is paused"
            if state.is_paused
            else f"its container has exited with code {state.exit_code}",
            do="unpause() it first, or leave the block that has paused it"
            if state.is_paused
            else "start() it first, or leave the block that has stopped it; logs() tells why it ended by itself",
        )


class Refusing:
    """Controls that refuse each method with the error that `reason` makes of its name; `allowed` are the exceptions."""

    def __init__(
        self, reason: Callable[[str], IsolateError], allowed: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        self._reason = reason
        self._allowed = allowed or {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)  # copy and pickle ask before the object is complete

        def refuse(*_: object, **__: object) -> NoReturn:
            raise self._reason(name)

        return self._allowed.get(name, refuse)


Controls: TypeAlias = ContainerControls | Refusing
