"""Facts of a run that are fixed before it begins: its id, ports that variables name, a guardian that is arming."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import Run
from pytest_isolate.plugin.run.guardian_client import GuardianProcess
from pytest_isolate.sharing.owners import read_owner

if TYPE_CHECKING:
    from pytest_isolate.running.network.addresses import PreassignedPorts


class EarlyRun(Struct, frozen=True, kw_only=True):
    """Facts that are fixed before pytest has collected."""

    run: Run
    ports: PreassignedPorts = {}
    guardian_process: GuardianProcess | None = None


KNOWN_KEY: pytest.StashKey[EarlyRun] = pytest.StashKey()


def new_run() -> Run:
    """A run of this process."""
    return Run(run_id=secrets.token_hex(4), owner=read_owner(), secret=secrets.token_bytes(32))


def preassign_ports(config: pytest.Config, run: Run, ports: PreassignedPorts) -> None:
    """Settle where the services of a run will be."""
    config.stash[KNOWN_KEY] = EarlyRun(run=run, ports=ports)


def start_guardian_early(config: pytest.Config) -> None:
    """Start a guardian while pytest collects: it is armed when the first service is about to start.

    Where none is needed after all, it ends with pytest. What goes wrong is told when a service is to be started.
    """
    known = config.stash.get(KNOWN_KEY, None) or EarlyRun(run=new_run())
    try:
        guardian_process = GuardianProcess(known.run)
    except EngineError:
        return
    config.stash[KNOWN_KEY] = replace(known, guardian_process=guardian_process)
    config.add_cleanup(guardian_process.cancel)


def armed_ahead(config: pytest.Config, run_id: str, env: Mapping[str, str]) -> GuardianProcess | None:
    """The guardian that was started for this run, where it has found the engine that would be found now."""
    known = config.stash.get(KNOWN_KEY, None)
    if known is None or known.guardian_process is None or known.run.run_id != run_id:
        return None
    return known.guardian_process if known.guardian_process.finds_the_same(env) else None
