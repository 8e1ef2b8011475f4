"""The owner's part of a run: it makes the folder, cleans up after crashed workers, and removes all of the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, suppress
from typing import TypeAlias

import pytest

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError, IsolateError
from pytest_isolate.model.identity import Run
from pytest_isolate.plugin.options import Settings
from pytest_isolate.plugin.run.early import KNOWN_KEY
from pytest_isolate.plugin.run.guardian_client import connect_to_guardian, survives_this_process
from pytest_isolate.plugin.run.opening import (
    RunMembership,
    connect,
    find_guardian,
    open_reuse_store,
    run_budget,
    was_connected,
)
from pytest_isolate.running.cleanup.remove import kill_all, remove_all, remove_all_before
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.instances.budget import BudgetKeeper
from pytest_isolate.sharing.board import LeaseTable
from pytest_isolate.sharing.folders import create_run_folder, remove_run_folder

FindRetained: TypeAlias = Callable[[Engine, Run, list[str]], Collection[str]]
"""The ids of what is not to be removed of a run, or of one of its workers; what goes wrong is added to a list."""

# Removing what a crashed worker had takes less than a second; what it has not done by then is done with all the rest.
_CLEAN_UP_S = 30


class Controller:
    """Owner of a run: xdist's controller, or the only process."""

    def __init__(
        self, config: pytest.Config, settings: Settings, run: Run, clock: Clock, find_retained: FindRetained
    ) -> None:
        self.run = run
        self.kept_codes: set[str] = set()
        """The instances that are kept for later runs and were used in this one."""
        self._config = config
        self._settings = settings
        self._clock = clock
        self._find_retained = find_retained
        self._member: RunMembership | None = None
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._warnings: list[str] = []
        self._is_handed_over = False

    def member(self) -> RunMembership:
        """Membership of the run; its folder is made on the first call."""
        if self._member is None:
            folder = create_run_folder(self.run.run_id, self.run.owner.encode())
            known = self._config.stash.get(KNOWN_KEY, None)
            self._member = RunMembership(run=self.run, folder=folder, ports=known.ports if known else {})
        return self._member

    def clean_up_worker(self, run: Run) -> None:
        """Remove, in the background, what a worker had for itself that has crashed."""
        member = self.member()
        if not was_connected(member):
            return

        def clean_up() -> None:
            try:
                engine = self.connect()
                remove_all(engine, run.own_labels(), self._find_retained(engine, run, self._warnings))
                budget = BudgetKeeper(LeaseTable(member.folder), run_budget(self._settings), self.run, self._clock)
                budget.release_worker(run.worker)
            except IsolateError as error:
                self._warnings.append(str(error))

        thread = threading.Thread(target=clean_up, name="isolate-clean-up", daemon=True)
        self._threads.append(thread)
        thread.start()

    def remove_run(self, engine: Engine | None, kept: Iterable[str], deadline_s: float, *, in_background: bool) -> None:
        """Remove every object of the run, whichever process made it; give back what is kept for later runs.

        In the background means that all containers are killed, and the guardian removes them when pytest has ended.
        """
        for thread in self._threads:
            thread.join(_CLEAN_UP_S)
        if self._member is None or (engine is None and not was_connected(self._member)):
            return
        try:
            engine = engine or self.connect()
            retained = self._find_retained(engine, self.run, self._warnings)
            if not (in_background and self._hand_over(engine, retained)):
                remove_all_before(engine, self.run.own_labels(), self._clock, deadline_s, retained)
        except IsolateError:
            self._leave_to_guardian()
            raise
        finally:
            if self._settings.reuse:
                open_reuse_store(self._settings, self._clock).leave(self.run.owner, [*kept, *self.kept_codes])

    def close(self) -> list[str]:
        """End the guardian, remove the run's folder; what went wrong on the way. Safe to repeat."""
        if self._member:
            guardian = find_guardian(self._member)
            if guardian and not self._is_handed_over:
                try:
                    with closing(connect_to_guardian(guardian)) as link:
                        link.say_bye()
                except EngineError:
                    pass  # it was killed: everything is removed all the same
            remove_run_folder(self._member.folder)
            self._member = None
        if self._engine:
            self._engine.close()
            self._engine = None
        warnings, self._warnings = self._warnings, []
        return warnings

    def _hand_over(self, engine: Engine, retained: Collection[str]) -> bool:
        """Kill everything and let the guardian remove it; False where it has to be removed here."""
        guardian = find_guardian(self.member())
        if not guardian or not survives_this_process():
            return False
        try:
            kill_all(engine, self.run.own_labels(), retained)
            with closing(connect_to_guardian(guardian)) as link:
                self._is_handed_over = link.finish()
        except IsolateError:
            return False  # what is wrong shows, and is told, when everything is removed here
        return self._is_handed_over

    def _leave_to_guardian(self) -> None:
        """Let the guardian try on: it may take longer than this process."""
        guardian = find_guardian(self.member())
        if guardian and survives_this_process() and not self._is_handed_over:
            with suppress(EngineError), closing(connect_to_guardian(guardian)) as link:
                self._is_handed_over = link.finish()

    def connect(self) -> Engine:
        """The engine, connected once."""
        with self._lock:
            if self._engine is None:
                self._engine = connect(self._config, self.run)
            return self._engine
