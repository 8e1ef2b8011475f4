"""`pytest-isolate ps`: every run on the engine, whose it is, and its services."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from pytest_isolate.cli.engine import open_engine
from pytest_isolate.engine.api import Labelled
from pytest_isolate.engine.command_api import ContainerFacts
from pytest_isolate.model.identity import LABEL_ALTERNATIVES, LABEL_WORKER
from pytest_isolate.running.ownership.runs import RunOnEngine, describe_service
from pytest_isolate.text import align, count


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
def ps(as_json: bool) -> None:
    """Show every run that has something on the engine: whose it is, whether it lives, its services.

    Ends with code 0, or with 1 when the engine does not answer.
    """
    with open_engine() as opened:
        runs, containers = opened.runs(), opened.containers()
    facts = [run_facts(run, containers) for run in runs]
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(run_lines(facts)))


def run_facts(run: RunOnEngine, containers: Mapping[str, ContainerFacts]) -> dict[str, Any]:
    """A run in plain types."""
    whose = run.owner
    return {
        "run": whose.run,
        "state": whose.state,
        "reason": whose.reason,
        "host": whose.host,
        "user": whose.user,
        "process": whose.pid,
        "project": whose.project,
        "containers": [_container_facts(item, containers.get(item.object_id)) for item in run.containers],
        "networks": run.others.get("network", 0),
        "volumes": run.others.get("volume", 0),
    }


def _container_facts(item: Labelled, listed: ContainerFacts | None) -> dict[str, Any]:
    """A container in plain types; it may have gone since the run was listed."""
    return {
        "service": describe_service(item.labels),
        "alternatives": item.labels.get(LABEL_ALTERNATIVES, ""),
        "worker": item.labels.get(LABEL_WORKER, ""),
        "name": item.name,
        "id": item.object_id,
        "image": listed.image if listed else "",
        "state": listed.state if listed else "gone",
        "status": listed.status if listed else "",
        "addresses": {str(inner): outer for inner, outer in listed.ports.items()} if listed else {},
    }


def run_lines(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The same for people."""
    if not runs:
        return ["nothing of ours is on the engine"]
    lines: list[str] = []
    for run in runs:
        lines += [f"run {run['run']}  {run['state']}: {run['reason']}", f"  {_describe_owner(run)}"]
        rows = [
            (c["service"] + c["alternatives"], c["status"] or c["state"], _addresses(c["addresses"]) or "-", c["name"])
            for c in run["containers"]
        ]
        lines += align(rows, "  ")
        rest = [count(run[f"{kind}s"], kind) for kind in ("network", "volume") if run[f"{kind}s"]]
        lines += [f"  {', '.join(rest)}"] if rest else []
    return lines


def _describe_owner(run: Mapping[str, Any]) -> str:
    parts = (f"{fact} {run[fact]}" for fact in ("host", "user", "process", "project") if run[fact])
    return ", ".join(parts) or "its labels do not say whose it is"


def _addresses(ports: Mapping[str, str]) -> str:
    return ", ".join(f"{outer} -> {inner}" for inner, outer in ports.items())
