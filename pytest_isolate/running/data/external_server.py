"""Databases on servers that outlive this process: nothing of them stays, whichever process dies.

Each process has a pristine state, templates and copies of its own there, all with its name in theirs. It signs up in a
folder of the user's before it makes the first; the next one that comes to the server drops what the dead have left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing, suppress

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import Run
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.data.backends.base import BackendError
from pytest_isolate.running.data.backends.table import backend_of
from pytest_isolate.running.data.names import CopyName, Makers
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.owners import read_owner, read_start_time


def makers_of(board: Board, clock: Clock) -> Makers:
    """Return the processes that have signed up on a board, as they are judged from this one."""
    return Makers(board=board, here=read_owner(), read_start_time=read_start_time, time=clock.time)


class ExternalCopies:
    """The servers that this process makes databases on, and which are not ours."""

    def __init__(self, engine: Engine, run: Run, makers: Makers) -> None:
        self._engine = engine
        self._run = run
        self._makers = makers
        self._lock = threading.Lock()
        self._entered: list[RunningInstance] = []

    def register(self, running: RunningInstance) -> None:
        """Sign up before the first database is made there, and drop what dead processes have left, where possible."""
        self._makers.register(self._run.run_id, self._run.worker)
        with self._lock:
            self._entered.append(running)
        # Without the claim, two workers that drop the same databases would get an error for each.
        with self._makers.board.claim("sweep", lambda: None), suppress(BackendError, EngineError):
            self._drop(running, self._makers.is_dead)

    def unregister(self) -> None:
        """Drop all that this process has made. Where that fails, the next process finds that this one is gone."""
        with self._lock:
            entered, self._entered = self._entered, []
        try:
            for running in entered:
                self._drop(running, CopyName(self._run.run_id, self._run.worker, 0).maker.__eq__)
        except (BackendError, EngineError):
            return
        if entered:
            self._makers.unregister(self._run.run_id, self._run.worker)

    def _drop(self, running: RunningInstance, is_theirs: Callable[[tuple[str, str]], bool]) -> None:
        open_external = backend_of(running).open_external
        assert open_external  # as model.fresh says, and what is declared was checked by that
        with closing(open_external(self._engine, running)) as backend:
            backend.drop_of(is_theirs)
