"""`pytest-isolate plan`: what a selection of tests would start."""

from __future__ import annotations

import json
from typing import Any

import click

from pytest_isolate.cli.pytest_process import ask_pytest
from pytest_isolate.sharing.command import PLAN


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGS]...")
def plan(as_json: bool, pytest_args: tuple[str, ...]) -> None:
    """Show what a selection of tests would start, and start nothing: pytest-isolate plan tests/api -k login

    The arguments are pytest's own. Ends with code 0, or with pytest's code when it cannot collect the tests, 4 for a
    declaration that is wrong.
    """
    plans: list[dict[str, Any]] = []
    asked = ask_pytest(PLAN, (), ("--isolate-plan", *pytest_args), plans.append)
    if asked.exit_code not in (0, 5) or not plans:  # 5: no tests were collected
        click.echo(asked.output.rstrip(), err=True)
        raise SystemExit(asked.exit_code or 1)
    # Every xdist worker has collected the same tests.
    found = plans[0]
    click.echo(json.dumps(found["steps"], indent=2) if as_json else "\n".join(found["lines"]))
