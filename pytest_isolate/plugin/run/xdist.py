"""Messages between pytest-xdist's controller and its workers. Nothing else mentions workerinput or workeroutput."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.model.identity import Run, parse_owner
from pytest_isolate.plugin.run.opening import RunMembership

_KEY = "isolate"
_FIRST = "gw0"


def is_controller(config: pytest.Config) -> bool:
    """True if this process only distributes tests to workers."""
    return config.pluginmanager.hasplugin("dsession")


def is_first(config: pytest.Config) -> bool:
    """True for the first of the processes that collect tests, which all collect the same."""
    return bool(getattr(config, "workerinput", {}).get("workerid", _FIRST) == _FIRST)


def distribution(config: pytest.Config) -> str:
    """In a worker, xdist's name for how tests are given out, such as `load`; elsewhere empty."""
    return str(getattr(config, "workerinput", {}).get(_KEY, {}).get("distribution", ""))


def receive(config: pytest.Config) -> RunMembership | None:
    """In a worker, what the controller has opened; elsewhere None."""
    given = getattr(config, "workerinput", {}).get(_KEY)
    if not given:
        return None
    owner = parse_owner(given["owner"])
    assert owner is not None
    worker_input: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]  # set by xdist in workers
    secret = bytes.fromhex(given["secret"])
    labels = tuple((name, value) for name, value in given["labels"])
    run_id, worker = given["run_id"], worker_input["workerid"]
    run = Run(run_id=run_id, owner=owner, secret=secret, worker=worker, extra_labels=labels)
    workers = int(worker_input["workercount"])
    return RunMembership(run=run, folder=Path(given["folder"]), workers=workers, ports=given["ports"])


def send(node: Any, member: RunMembership) -> None:
    """In the controller, tell a worker which run it belongs to."""
    run = member.run
    node.workerinput[_KEY] = {
        "run_id": run.run_id,
        "owner": run.owner.encode(),
        "secret": run.secret.hex(),
        "folder": str(member.folder),
        "labels": [list(pair) for pair in run.extra_labels],
        "distribution": node.config.option.dist,
        "ports": {name: dict(ports) for name, ports in member.ports.items()},
    }


def report(config: pytest.Config, **facts: Any) -> None:
    """In a worker, leave facts for the controller; elsewhere do nothing."""
    if hasattr(config, "workeroutput"):
        config.workeroutput.setdefault(_KEY, {}).update(facts)


def read_report(node: Any) -> dict[str, Any]:
    """In the controller, what a worker reported; empty when it crashed."""
    return dict(getattr(node, "workeroutput", {}).get(_KEY, {}))
