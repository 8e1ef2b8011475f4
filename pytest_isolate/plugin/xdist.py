"""Messages between pytest-xdist's controller and its workers. Nothing else mentions workerinput or workeroutput."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_isolate.model.identity import Run, parse_owner

_KEY = "isolate"


def is_controller(config: pytest.Config) -> bool:
    """Whether this process only distributes tests to workers."""
    return config.pluginmanager.hasplugin("dsession")


def receive_run(config: pytest.Config) -> Run | None:
    """In a worker, the run that the controller opened; elsewhere None."""
    given = getattr(config, "workerinput", {}).get(_KEY)
    if not given:
        return None
    owner = parse_owner(given["owner"])
    assert owner is not None
    worker = config.workerinput["workerid"]  # type: ignore[attr-defined]  # set by xdist in workers
    return Run(run_id=given["run_id"], owner=owner, secret=bytes.fromhex(given["secret"]), worker=worker)


def send_run(node: Any, run: Run) -> None:
    """In the controller, tell a worker which run it belongs to."""
    node.workerinput[_KEY] = {"run_id": run.run_id, "owner": run.owner.encode(), "secret": run.secret.hex()}


def report(config: pytest.Config, **facts: str) -> None:
    """In a worker, leave facts for the controller; elsewhere do nothing."""
    if hasattr(config, "workeroutput"):
        config.workeroutput.setdefault(_KEY, {}).update(facts)


def read_report(node: Any) -> dict[str, str]:
    """In the controller, what a worker reported; empty when it crashed."""
    return dict(getattr(node, "workeroutput", {}).get(_KEY, {}))
