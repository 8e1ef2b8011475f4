"""The faults that a service can be given: each is a block, and is undone at its end, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from pytest_isolate.engine.api import Capability, ContainerState, Engine, require
from pytest_isolate.errors import FaultError
from pytest_isolate.running.faults.impairment import parse_impairment
from pytest_isolate.running.faults.network import Target


class Faults:
    """The faults of one container. `hold_data` and `start_again` are what stop() and start() of its handle do, too."""

    def __init__(self, target: Target, hold_data: Callable[[], None], start_again: Callable[[], None]) -> None:
        self._target = target
        self._hold_data = hold_data
        self._start_again = start_again

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Frozen, and going on afterwards."""
        engine, container_id = self._target.engine, self._target.container_id
        require_pause(engine, self._target.service)
        self._require_running("paused")
        try:
            engine.pause_container(container_id)
            yield
        finally:
            # Whoever has unpaused, stopped or killed it meanwhile by hand has undone it.
            if engine.inspect_container(container_id).is_paused:
                engine.unpause_container(container_id)

    @contextmanager
    def stopped(self, timeout_s: int) -> Iterator[None]:
        """Asked to stop, and started again afterwards."""
        with self._down("stopped", lambda: self._target.engine.stop_container(self._target.container_id, timeout_s)):
            yield

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Ended at once, and started again afterwards."""
        with self._down("killed", lambda: self._target.engine.kill_container(self._target.container_id)):
            yield

    @contextmanager
    def disconnected(self) -> Iterator[None]:
        """Cut off from everything, and reachable again afterwards."""
        self._require_running("disconnected")
        from pytest_isolate.running.faults.network import disconnect  # few tests need it

        with disconnect(self._target):
            yield

    def slow(self, *, latency: object, jitter: object, loss: object, rate: object) -> AbstractContextManager[None]:
        """What it sends is held up, and at its own pace again afterwards. A wrong value is told at once."""
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
            self._hold_data()
            end()
            yield
        finally:
            # Whoever has started it meanwhile by hand has undone it.
            if not self._target.engine.inspect_container(self._target.container_id).is_running:
                self._start_again()

    def _require_running(self, done: str) -> None:
        """FaultError where there is nothing to take away: what ends the fault would do more than undo it."""
        state = self._target.engine.inspect_container(self._target.container_id)
        if state.is_running and not state.is_paused:
            return
        raise FaultError(
            self._target.service,
            f"cannot be {done}, because it does not run",
            found=_describe(state),
            do="unpause() it first, or leave the block that has paused it"
            if state.is_paused
            else "start() it first, or leave the block that has stopped it; logs() tells why it ended by itself",
        )


def require_pause(engine: Engine, service: str) -> None:
    """Raise EngineError where the engine cannot pause."""
    way_out = "stop() or kill() it: then it does not answer either"
    require(engine.facts(), Capability.PAUSE, f"service {service!r} cannot be paused", way_out)


def _describe(state: ContainerState) -> str:
    return "its container is paused" if state.is_paused else f"its container has exited with code {state.exit_code}"
