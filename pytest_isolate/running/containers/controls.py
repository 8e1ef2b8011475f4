"""What the methods of a handle do: with a container of ours, or nothing but an error that says why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from pytest_isolate.engine.api import ExecResult
from pytest_isolate.errors import IsolateError
from pytest_isolate.running.faults.methods import Faults


class ContainerControls(Faults):
    """The controls of one container: its faults, and what is done to it for good."""

    def logs(self) -> str:
        """Return all that it has written."""
        return self._target.engine.read_logs(self._target.container_id)

    def exec(self, argv: Sequence[str]) -> ExecResult:
        """Run a command inside."""
        return self._target.engine.run_command(self._target.container_id, argv)

    def stop(self, timeout_s: int) -> None:
        """Ask it to stop, and kill it when it does not in time."""
        self._hold_data()
        self._target.engine.stop_container(self._target.container_id, timeout_s)

    def start(self) -> None:
        """Start it again, and return when it is ready."""
        self._start_again()

    def restart(self, timeout_s: int) -> None:
        """Stop and start it."""
        self.stop(timeout_s)
        self.start()

    def kill(self) -> None:
        """End it at once."""
        self._hold_data()
        self._target.engine.kill_container(self._target.container_id)

    def pause(self) -> None:
        """Freeze it."""
        self._target.engine.pause_container(self._target.container_id)

    def unpause(self) -> None:
        """Let it go on."""
        self._target.engine.unpause_container(self._target.container_id)


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
