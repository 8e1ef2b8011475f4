"""`pytest-isolate gc` and `remove`: what runs have left on the engine, and what a run has left on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import click

from pytest_isolate.cli.engine import EXIT_FAILED, open_engine
from pytest_isolate.engine.api import Labelled
from pytest_isolate.model.identity import LABEL_RUN
from pytest_isolate.running.cleanup.sweep import Judged, Sweep
from pytest_isolate.running.ownership.reuse import is_manual
from pytest_isolate.text import align


@click.command()
@click.option("--dry-run", is_flag=True, help="Remove nothing; show what would go, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove what dead runs have left, and what was kept for too long.

    Only what carries our labels, and only where its owner is provably dead; in doubt it stays. And the images that
    this user's builds of services have replaced, unless something uses them. Ends with code 0, or
    with 1 when the engine does not answer or something could not be removed.
    """
    nothing = "nothing of ours is on the engine"
    _clean(Sweep.judge, Sweep.remove, dry_run=dry_run, as_json=as_json, nothing=nothing)


@click.command()
@click.argument("run")
@click.option("--dry-run", is_flag=True, help="Remove nothing; show what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
def remove(run: str, dry_run: bool, as_json: bool) -> None:
    """Remove what RUN has kept: for you to look inside (pytest --isolate-keep), or for later runs (--isolate-reuse).

    RUN is what `pytest-isolate ps` calls it. Nothing else of that run, nor of others; what a run uses at this moment
    stays. Ends with code 0, or with 1 when the run has kept nothing, something of it stays, the engine does not answer,
    or something could not be removed.
    """
    is_up = is_manual(run)
    nothing = (
        f"run {run} is taken down by: pytest-isolate down" if is_up else f"run {run} has left nothing on the engine"
    )
    judged = _clean(
        lambda sweep: sweep.judge_left(run),
        lambda sweep, judged: sweep.remove(judged, discarding=True),
        dry_run=dry_run,
        as_json=as_json,
        nothing=nothing,
    )
    if not judged or not all(item.verdict.is_dead for item in judged):
        raise SystemExit(EXIT_FAILED)


def _clean(
    find: Callable[[Sweep], Sequence[Judged]],
    remove: Callable[[Sweep, Sequence[Judged]], Sequence[Labelled]],
    *,
    dry_run: bool,
    as_json: bool,
    nothing: str,
) -> Sequence[Judged]:
    """Remove what may go of the objects that are found; print what became of each, and why."""
    with open_engine() as opened:
        sweep = opened.sweep()
        judged = find(sweep)
        removed = {(item.kind, item.object_id) for item in ([] if dry_run else remove(sweep, judged))}
    fates = [(item, _fate(item, removed, dry_run)) for item in judged]
    if as_json:
        click.echo(json.dumps([_facts(item, fate) for item, fate in fates], indent=2))
    else:
        rows = [(fate, item.found.kind, item.found.name, item.verdict.reason) for item, fate in fates]
        click.echo("\n".join(align(rows)) or nothing)
    return judged


def _fate(item: Judged, removed: set[tuple[str, str]], dry_run: bool) -> str:
    if (item.found.kind, item.found.object_id) in removed:
        return "removed"
    return "would go" if dry_run and item.verdict.is_dead else "stays"


def _facts(item: Judged, fate: str) -> dict[str, object]:
    found = item.found
    run, reason = found.labels.get(LABEL_RUN, ""), item.verdict.reason
    return {"fate": fate, "kind": found.kind, "name": found.name, "run": run, "reason": reason}
