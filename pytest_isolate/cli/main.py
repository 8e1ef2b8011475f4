"""The command `pytest-isolate`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import click

from pytest_isolate.cli.completion import completion
from pytest_isolate.cli.doctor import doctor
from pytest_isolate.cli.exec import execute
from pytest_isolate.cli.images import images
from pytest_isolate.cli.logs import logs
from pytest_isolate.cli.plan import plan
from pytest_isolate.cli.ps import ps
from pytest_isolate.cli.up import down, up
from pytest_isolate.engine.docker.engine import connect
from pytest_isolate.engine.docker.podman import served
from pytest_isolate.errors import IsolateError
from pytest_isolate.model.identity import LABEL_RUN
from pytest_isolate.running.cleanup.sweep import Judged, Sweep
from pytest_isolate.sharing.folders import kept_folder, snapshot_usage
from pytest_isolate.sharing.owners import read_owner
from pytest_isolate.text import align

EXIT_FAILED = 1


@click.group()
@click.version_option(package_name="pytest-isolate-containers")
def main() -> None:
    """Look after the containers that pytest-isolate starts."""


@main.command()
@click.option("--dry-run", is_flag=True, help="Remove nothing; show what would go, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove what dead runs have left, and what was kept for too long.

    Only what carries our labels, and only where its owner is provably dead; in doubt it stays. Ends with code 0, or
    with 1 when the engine does not answer or something could not be removed.
    """
    _look_after(
        lambda sweep: sweep.judge(), dry_run=dry_run, as_json=as_json, nothing="nothing of ours is on the engine"
    )


@main.command()
@click.argument("run")
@click.option("--dry-run", is_flag=True, help="Remove nothing; show what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
def remove(run: str, dry_run: bool, as_json: bool) -> None:
    """Remove what RUN has left for you to look inside (pytest --isolate-keep).

    Nothing else of that run, nor of others. Ends with code 0, or with 1 when the run has left nothing, the engine does
    not answer, or something could not be removed.
    """
    nothing = f"run {run} has left nothing on the engine"
    if not _look_after(lambda sweep: sweep.judge_left(run), dry_run=dry_run, as_json=as_json, nothing=nothing):
        raise SystemExit(EXIT_FAILED)


def _look_after(
    find: Callable[[Sweep], Sequence[Judged]], *, dry_run: bool, as_json: bool, nothing: str
) -> Sequence[Judged]:
    """Remove what may go of what is found; tell of each object what became of it, and why."""
    try:
        with served(os.environ) as env, closing(connect(env)) as engine:
            sweep = Sweep(engine, read_owner(), kept_folder(), snapshot_usage(), time.time)
            judged = find(sweep)
            removed = {(item.kind, item.object_id) for item in ([] if dry_run else sweep.remove(judged))}
    except IsolateError as error:
        click.echo(str(error), err=True)
        raise SystemExit(EXIT_FAILED) from error
    fates = [(item, _fate(item, removed, dry_run)) for item in judged]
    if as_json:
        click.echo(json.dumps([_facts(item, fate) for item, fate in fates], indent=2))
    else:
        click.echo(_table(fates) or nothing)
    return judged


for _command in (up, down, ps, logs, execute, plan, images, doctor, completion):
    main.add_command(_command)


def _fate(item: Judged, removed: set[tuple[str, str]], dry_run: bool) -> str:
    if (item.found.kind, item.found.object_id) in removed:
        return "removed"
    return "would go" if dry_run and item.verdict.is_dead else "stays"


def _facts(item: Judged, fate: str) -> dict[str, object]:
    found = item.found
    run, reason = found.labels.get(LABEL_RUN, ""), item.verdict.reason
    return {"fate": fate, "kind": found.kind, "name": found.name, "run": run, "reason": reason}


def _table(fates: list[tuple[Judged, str]]) -> str:
    rows = [(fate, item.found.kind, item.found.name, item.verdict.reason) for item, fate in fates]
    return "\n".join(align(rows))
