"""`pytest-isolate logs`: what a service writes."""

from __future__ import annotations

import os
import sys

import click

from pytest_isolate.cli.engine import open_engine
from pytest_isolate.cli.find_container import all_named, complete_names, find_container

_STDERR = 2


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until the container ends or Ctrl-C.")
@click.option("-n", "--tail", type=click.IntRange(min=0), help="Only the last so many lines.")
def logs(name: str, follow: bool, tail: int | None) -> None:
    """Print what a service has written, its stdout to stdout and its stderr to stderr.

    NAME is a service (db, or hr.db in a stack), a container's name, or the beginning of its id. Ends with code 0, or
    with 1 when there is no such container or the engine does not answer.
    """
    with open_engine() as opened:
        container_id = find_container(name, all_named(opened.runs()), os.getcwd()).found.object_id
        try:
            for stream, text in opened.engine.stream_log(container_id, tail=tail, follow=follow):
                _write(stream, text)
        except (KeyboardInterrupt, BrokenPipeError):
            # Whoever reads has seen enough; what is still in the buffer must not fail at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(stream: int, text: bytes) -> None:
    target = sys.stderr.buffer if stream == _STDERR else sys.stdout.buffer
    target.write(text)
    target.flush()
