"""`pytest-isolate up` and `down`: the project's services without tests, for work by hand."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pytest_isolate.cli.engine import EXIT_FAILED, OpenEngine, ending_in, open_engine
from pytest_isolate.cli.env_file import check_env_file, remove_blocks, write_block
from pytest_isolate.cli.pytest_process import ask_pytest
from pytest_isolate.errors import IsolateError, build_message
from pytest_isolate.model.identity import LABEL_REUSE, LABEL_RUN
from pytest_isolate.running.cleanup.remove import remove_all
from pytest_isolate.running.containers.view import as_env_file
from pytest_isolate.running.ownership.reuse import ReuseStore
from pytest_isolate.running.ownership.runs import UP as IS_UP
from pytest_isolate.running.ownership.runs import RunOnEngine, is_project_of
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.command import UP
from pytest_isolate.sharing.folders import kept_folder
from pytest_isolate.text import align, count, redact

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# Not --isolate: nothing of a run is wanted but what it would collect.
_COLLECT = ("--collect-only", "-q", "-o", "isolate=false")
# All is well, or there are no tests.
_COLLECTED = (0, 5)
_PROGRESS_EVERY_S = 5.0


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--env-file", type=click.Path(dir_okay=False, path_type=Path), help="Write the variables into this file.")
@click.option("--show-secrets", is_flag=True, help="Print random passwords instead of ***.")
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
def up(names: tuple[str, ...], env_file: Path | None, show_secrets: bool, as_json: bool) -> None:
    """Start declared services for work by hand; they stay until `pytest-isolate down`.

    NAME is a service, a stack, or a service of a stack (hr.db); what it needs starts with it. Without names: all that
    conftest.py files and TOML declare. What is up already, and has not changed, is used as it is.

    Ends with code 0 when all are up; 1 when one did not start, or no engine answers; 2 for a name that is not
    declared, or a file that cannot take the variables; 4 when a declaration is wrong; with pytest's own code when it
    cannot collect; 130 after Ctrl-C.
    """
    if env_file:
        with ending_in(EXIT_USAGE):
            check_env_file(env_file)
    hearer = _UpPrinter()
    asked = ask_pytest(UP, names, _COLLECT, hearer.hear)
    has_answered = hearer.ready or hearer.errors or asked.is_interrupted
    if not has_answered and asked.exit_code not in _COLLECTED:
        click.echo(asked.output.rstrip(), err=True)
        raise SystemExit(asked.exit_code)
    written = _write(env_file, hearer) if env_file and hearer.ready else None
    facts = [_shown(service, show_secrets) for service in hearer.ready]
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    elif facts or not (hearer.errors or asked.is_interrupted):
        click.echo("\n".join(_lines(facts, written)))
    for text in hearer.errors:
        click.echo(text, err=True)
    if asked.is_interrupted:
        click.echo("interrupted; what is up stays: pytest-isolate down", err=True)
    if asked.is_interrupted or hearer.exit_code:
        raise SystemExit(EXIT_INTERRUPTED if asked.is_interrupted else hearer.exit_code)


@click.command()
@click.option("--all", "everything", is_flag=True, help="Of all this user's projects, not only of this folder's.")
def down(everything: bool) -> None:
    """Remove what `pytest-isolate up` has started for this folder's project, with its volumes and networks.

    The variables that it has written into files go too. Ends with code 0, also when nothing was up; 1 when the engine
    does not answer, something could not be removed, or another user has started it.
    """
    with open_engine() as opened:
        found = [run for run in opened.runs() if run.owner.state == IS_UP]
        runs = found if everything else _of_folder(found, os.getcwd())
        if not runs:
            click.echo("nothing is up" if everything else "nothing is up for this folder")
        external_copies = [run for run in runs if not _is_own(run)]
        for run in runs:
            if run not in external_copies:
                _take_down(opened, run)
        for run in external_copies:
            click.echo(_refusal(opened, run), err=True)
    if external_copies and not everything:
        raise SystemExit(EXIT_FAILED)


class _UpPrinter:
    """Answers of pytest so far; progress is shown at once."""

    def __init__(self) -> None:
        self._ready: dict[int, dict[str, Any]] = {}
        self.errors: list[str] = []
        self.run = ""
        self.exit_code = 0
        self._shown_at = float("-inf")

    @property
    def ready(self) -> list[dict[str, Any]]:
        """The services that are up, each behind what it needs, however quick each was."""
        return [self._ready[order] for order in sorted(self._ready)]

    def hear(self, answer: Mapping[str, Any]) -> None:
        """One answer."""
        match answer["kind"]:
            case "progress" if time.monotonic() - self._shown_at >= _PROGRESS_EVERY_S:
                self._shown_at = time.monotonic()
                click.echo(answer["text"], err=True)
            case "run":
                self.run = answer["run"]
            case "ready":
                self._ready[answer["order"]] = answer["facts"]
            case "failed":
                self.errors.append(answer["text"])
                self.exit_code = EXIT_FAILED
            case "error":
                self.errors.append(answer["text"])
                self.exit_code = answer["code"]


def _variables(services: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {name: value for service in services for name, value in service["env"].items()}


def _shown(service: Mapping[str, Any], show_secrets: bool) -> dict[str, Any]:
    """A service without its secrets, unless they are wanted."""
    secrets = () if show_secrets else tuple(service["secrets"])
    shown = {key: value for key, value in service.items() if key != "secrets"}
    shown["url"] = redact(shown["url"], secrets) if shown["url"] else None
    shown["env"] = {name: redact(value, secrets) for name, value in shown["env"].items()}
    return shown


def _lines(services: Sequence[Mapping[str, Any]], file: Path | None) -> list[str]:
    """Addresses, then the variables, as a file for them would have them."""
    if not services:
        return ["no service is declared in conftest.py files or TOML"]
    rows = [(s["service"], ", ".join(f"{o} -> {i}" for i, o in s["addresses"].items()) or "-") for s in services]
    lines = [*align([(name, address, s["image"]) for (name, address), s in zip(rows, services, strict=True)]), ""]
    lines += as_env_file(_variables(services)).splitlines()
    written = f"written to {file}; " if file else ""
    return [*lines, "", f"{written}up until: pytest-isolate down"]


def _write(path: Path, hearer: _UpPrinter) -> Path | None:
    """The file when the variables are in it; None, with one more error, where it has changed meanwhile."""
    try:
        write_block(path, _variables(hearer.ready), Board(kept_folder() / hearer.run))
    except IsolateError as error:
        hearer.errors.append(str(error))
        hearer.exit_code = EXIT_FAILED
        return None
    has_secrets = any(service["secrets"] for service in hearer.ready)
    if has_secrets and path.stat().st_mode & 0o077:
        click.echo(f"others can read {path}, which has passwords in it now: chmod 600 {path}", err=True)
    return path


def _of_folder(runs: Sequence[RunOnEngine], folder: str) -> list[RunOnEngine]:
    """Runs that are up for the project that a folder lies in: the nearest, where projects are nested."""
    around = [run for run in runs if is_project_of(run.owner.project, folder)]
    nearest = max((len(run.owner.project) for run in around), default=0)
    return [run for run in around if len(run.owner.project) == nearest]


def _is_own(run: RunOnEngine) -> bool:
    return (kept_folder() / run.owner.run).is_dir()


def _take_down(opened: OpenEngine, run: RunOnEngine) -> None:
    with ending_in(EXIT_FAILED):
        reuse_store = ReuseStore(kept_folder() / run.owner.run, time.time)
        texts = remove_blocks(reuse_store.board)
        reuse_store.clear(lambda: remove_all(opened.engine, {LABEL_RUN: run.owner.run}))
    for text in texts:
        click.echo(text, err=True)
    click.echo(f"removed {count(len(run.containers), 'service')} of {run.owner.project}")


def _refusal(opened: OpenEngine, run: RunOnEngine) -> str:
    by_force = opened.engine.commands.remove({LABEL_REUSE: run.owner.run})[0]
    return str(
        IsolateError(
            build_message(
                f"what is up for {run.owner.project} belongs to somebody else",
                found=f"started by user {run.owner.user or 'unknown'} on host {run.owner.host or 'unknown'}",
                do=f"run pytest-isolate down as that user; by force: {by_force}",
            )
        )
    )
