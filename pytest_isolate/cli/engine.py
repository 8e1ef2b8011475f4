"""The engine as the commands use it, and how they end when something fails."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import click
from msgspec import Struct

from pytest_isolate.engine.api import Labelled
from pytest_isolate.engine.docker.engine import DockerEngine
from pytest_isolate.engine.docker.inventory import ContainerFacts, Inventory
from pytest_isolate.engine.docker.podman import served
from pytest_isolate.engine.docker.transport.client import Http, open_http
from pytest_isolate.errors import IsolateError
from pytest_isolate.model.identity import LABEL_RUN
from pytest_isolate.running.cleanup.sweep import Sweep
from pytest_isolate.running.ownership.runs import RunOnEngine, group_runs
from pytest_isolate.sharing.folders import kept_folder, snapshot_usage
from pytest_isolate.sharing.owners import Verdict, read_owner

EXIT_FAILED = 1
EXIT_USAGE = 2
"""As click itself ends when a command is used wrongly."""


class OpenEngine(Struct, frozen=True):
    """The engine that answers, and what of ours is on it."""

    client: Http
    engine: DockerEngine
    inventory: Inventory

    def runs(self) -> tuple[RunOnEngine, ...]:
        """Every run that has objects on the engine."""
        return group_runs(self._judge())

    def containers(self) -> Mapping[str, ContainerFacts]:
        """Every container of ours by its id, as the engine sees it."""
        return {container.container_id: container for container in self.inventory.containers(LABEL_RUN)}

    def _judge(self) -> Sequence[tuple[Labelled, Verdict]]:
        sweep = Sweep(self.engine, read_owner(), kept_folder(), snapshot_usage(), time.time)
        return [(judged.found, judged.verdict) for judged in sweep.judge() if judged.found.kind != "image"]


@contextmanager
def open_engine(exit_code: int = EXIT_FAILED) -> Iterator[OpenEngine]:
    """The engine that answers; an error of ours is printed, and ends the command with this code."""
    with ending_in(exit_code), served(os.environ) as env:
        client = open_http(env)
        engine = DockerEngine(client)
        try:
            yield OpenEngine(client, engine, Inventory(client))
        finally:
            engine.close()


@contextmanager
def ending_in(exit_code: int) -> Iterator[None]:
    """An error of ours is printed, and ends the command with this code."""
    try:
        yield
    except IsolateError as error:
        click.echo(str(error), err=True)
        raise SystemExit(exit_code) from error
