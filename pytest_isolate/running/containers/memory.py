"""Data that services keep in memory: how it outlives a stop, and what is said when there is no room left.

A folder in memory is there for as long as a container runs that has it mounted. So while a service is stopped, another
container that does nothing holds its folders; unless they outlive a stop on an engine (`EngineFacts.keeps_memory`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress

from pytest_isolate.engine.api import ContainerRequest, Engine
from pytest_isolate.errors import EngineError, StartError
from pytest_isolate.model.identity import LABEL_HOLDS
from pytest_isolate.running.containers.running import RunningInstance, describe_instance
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.images.images import image_tag

_HOLDER_BYTES = 16 * 1024**2
# A server goes on to say so with each attempt.
_LOG_LINES = 50
_IS_FULL = re.compile(r"no space left on device|disk (?:is )?full|errcode: 28", re.IGNORECASE)


def advise_if_full(text: str, running: RunningInstance) -> str:
    """Return what to do where a log says that a folder in memory is full; empty where it says nothing of it."""
    if not running.memory_folders or not _IS_FULL.search(text):
        return ""
    folder, size = next(iter(running.memory_folders.items()))
    return (
        f"{folder} of service {running.spec.name!r} is in memory and may take {size // 1024**2} MiB: allow more with "
        "--isolate-in-memory=4g, or keep it on disk with --isolate-in-memory=0"
    )


def log_hints(engine: Engine, instances: Iterable[RunningInstance]) -> list[str]:
    """Return what to do about those of these instances whose logs say what their tests cannot know."""
    hints = []
    for running in instances:
        if running.memory_folders:
            with suppress(EngineError):  # the test's own error tells more
                hints.append(advise_if_full(engine.read_logs(running.container_id, tail=_LOG_LINES), running))
    return list(filter(None, hints))


class Memory:
    """Holds the data of services in memory while they are stopped."""

    def __init__(self, context: RunContext) -> None:
        self._engine = context.engine
        self._run = context.run

    def hold(self, running: RunningInstance) -> None:
        """Before it is stopped or killed: its folders stay. Does nothing for one that does not run."""
        if not running.memory_folders or self._engine.facts().keeps_memory or self._holders(running):
            return
        state = self._engine.inspect_container(running.container_id)
        if not state.is_running:
            return
        name = running.domain.run.resource_name(running.spec.name, "memory", secrets.token_hex(4))
        holder = self._engine.create_container(
            ContainerRequest(
                name=name,
                image=image_tag(running.spec),
                labels={**running.domain.run.labels(), LABEL_HOLDS: running.container_id},
                entrypoint=("sleep",),
                command=("infinity",),
                network="none",
                volumes={name: path for name, path in state.volumes.items() if path in running.memory_folders},
                memory_bytes=_HOLDER_BYTES,
                cap_drop=("ALL",),
            )
        )
        self._engine.start_container(holder)

    def check(self, running: RunningInstance) -> None:
        """Before it is started again: StartError where its data has gone."""
        if not running.memory_folders or self._engine.facts().keeps_memory or self._holders(running):
            return
        if not self._engine.inspect_container(running.container_id).is_running:
            raise StartError(
                describe_instance(running.instance, self._run),
                "cannot be started again, because its data has gone",
                found=f"it kept {', '.join(running.memory_folders)} in memory, and ended by itself",
                do="stop it with stop() or kill(), or keep its data on disk: in_memory=[], or --isolate-in-memory=0",
            )

    def release(self, running: RunningInstance) -> None:
        """After it was started again: it holds its folders itself."""
        for holder in self._holders(running) if running.memory_folders else ():
            with suppress(EngineError):  # the clean-up at the end finds it by its labels, tries again and reports
                self._engine.remove_container(holder)

    def _holders(self, running: RunningInstance) -> list[str]:
        return list(self._engine.list_containers({LABEL_HOLDS: running.container_id}))
