"""The engine as the commands use it, and how they end when something fails."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import click
from msgspec import Struct

from pytest_isolate.engine.command_api import CommandEngine, ContainerFacts
from pytest_isolate.engine.connect import connect_for_command
from pytest_isolate.errors import IsolateError
from pytest_isolate.model.identity import LABEL_RUN
from pytest_isolate.running.cleanup.sweep import Sweep
from pytest_isolate.running.images.replaced import ReplacedImages
from pytest_isolate.running.ownership.runs import RunOnEngine, group_runs
from pytest_isolate.sharing.board import Board, open_locks
from pytest_isolate.sharing.folders import built_folder, kept_folder, snapshot_usage
from pytest_isolate.sharing.owners import read_owner

EXIT_FAILED = 1
_STDERR = 2


class OpenEngine(Struct, frozen=True):
    """The engine that answers, and what of ours is on it."""

    engine: CommandEngine

    def runs(self) -> tuple[RunOnEngine, ...]:
        """Every run that has objects on the engine."""
        judged = self.sweep().judge()
        return group_runs([(item.found, item.verdict) for item in judged if item.found.kind != "image"])

    def containers(self) -> Mapping[str, ContainerFacts]:
        """Every container of ours by its id, as the engine sees it."""
        return {container.container_id: container for container in self.engine.list_facts(LABEL_RUN)}

    def sweep(self) -> Sweep:
        """The judge of what may be removed."""
        replaced = ReplacedImages(self.engine, Board(built_folder()), open_locks())
        return Sweep(self.engine, read_owner(), kept_folder(), snapshot_usage(), time.time, replaced)


@contextmanager
def open_engine(exit_code: int = EXIT_FAILED) -> Iterator[OpenEngine]:
    """The engine that answers; an error of ours is printed, and ends the command with this code."""
    with ending_in(exit_code), connect_for_command(os.environ) as engine:
        yield OpenEngine(engine)


@contextmanager
def ending_in(exit_code: int) -> Iterator[None]:
    """An error of ours is printed, and ends the command with this code."""
    try:
        yield
    except IsolateError as error:
        click.echo(str(error), err=True)
        raise SystemExit(exit_code) from error


def write_streams(pieces: Iterable[tuple[int, bytes]]) -> None:
    """Write what a container wrote to this process's own stdout and stderr, each piece at once."""
    for stream, content in pieces:
        target = sys.stderr.buffer if stream == _STDERR else sys.stdout.buffer
        target.write(content)
        target.flush()
