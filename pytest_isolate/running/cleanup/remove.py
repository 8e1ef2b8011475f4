"""Removal of every object with given labels: containers in parallel, then volumes and networks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pytest_isolate.engine.api import Engine, Removing
from pytest_isolate.errors import CleanupError, EngineError
from pytest_isolate.running.clock import Clock

# Measured on Docker 20.10 with 2 cores: more at once do not end sooner.
_PARALLEL = 6


def remove_all(engine: Removing, labels: Mapping[str, str], retained: Collection[str] = ()) -> None:
    """Remove all objects with these labels, except retained ids.

    Goes on after an error; CleanupError names everything that is left.
    """
    with ThreadPoolExecutor(_PARALLEL) as pool:
        failures = _remove_each(pool, engine.list_containers, labels, engine.remove_container, retained)
        failures += _remove_each(pool, engine.list_volumes, labels, engine.remove_volume, retained)
        failures += _remove_each(pool, engine.list_networks, labels, engine.remove_network, retained)
    if failures:
        raise CleanupError(failures, do=["once the engine answers again:", *engine.commands.remove(labels)])


def kill_all(engine: Engine, labels: Mapping[str, str], retained: Collection[str] = ()) -> None:
    """Kill every container with these labels, except retained ids; CleanupError where that fails."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        failures = _remove_each(pool, engine.list_containers, labels, engine.kill_container, retained)
    if failures:
        raise CleanupError(failures, do=["once the engine answers again:", *engine.commands.remove(labels)])


def remove_all_before(
    engine: Removing, labels: Mapping[str, str], clock: Clock, deadline_s: float, retained: Collection[str] = ()
) -> None:
    """Call `remove_all` again for `deadline_s` while the engine does not answer: it may be restarting."""
    never, started, pause = threading.Event(), clock.now(), 0.2
    while True:
        try:
            return remove_all(engine, labels, retained)
        except CleanupError:
            if clock.now() - started >= deadline_s:
                raise
            clock.wait(never, pause)
            pause = min(2 * pause, 2.0)


def _remove_each(
    pool: ThreadPoolExecutor,
    find: Callable[[Mapping[str, str]], Sequence[str]],
    labels: Mapping[str, str],
    remove: Callable[[str], None],
    retained: Collection[str],
) -> list[str]:
    try:
        names = [name for name in find(labels) if name not in retained]
    except EngineError as error:
        return [str(error)]
    futures = [pool.submit(remove, name) for name in names]
    errors = [future.exception() for future in futures]
    return [str(error) for error in errors if error]
