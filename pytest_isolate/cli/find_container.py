"""From what a user types to one container: `db`, `hr.db`, a container's name or the beginning of its id."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr

import click
from click.shell_completion import CompletionItem
from msgspec import Struct

from pytest_isolate.cli.engine import open_engine
from pytest_isolate.engine.api import Labelled
from pytest_isolate.errors import IsolateError, build_message, suggest
from pytest_isolate.running.ownership.runs import (
    DEAD,
    UP,
    RunOnEngine,
    RunOwner,
    describe_container,
    describe_service,
    is_project_of,
)

_SHORTEST_ID = 4


class FoundContainer(Struct, frozen=True):
    """A container of ours, and whose it is."""

    whose: RunOwner
    found: Labelled

    @property
    def service(self) -> str:
        """Its service as people call it."""
        return describe_service(self.found.labels)

    @property
    def words(self) -> str:
        """Its service with the alternatives that this container of it has."""
        return describe_container(self.found.labels)


def all_named(runs: Iterable[RunOnEngine]) -> list[FoundContainer]:
    """Every container of some runs."""
    return [FoundContainer(run.owner, container) for run in runs for container in run.containers]


def find_container(name: str, named: Sequence[FoundContainer], folder: str) -> FoundContainer:
    """The one container that is meant; IsolateError where there is none, or where it could be several.

    A container's own name or id says it all. A service's name means the one that is up for this folder's project, else
    the one of a run in this folder's project, else the only one that there is.
    """
    exact = [n for n in named if n.found.name == name or _is_id(name, n.found.object_id)]
    fitting = [n for n in named if name in (n.service, n.service.rpartition(".")[2], n.words)]
    found = exact or _nearest(fitting, name, folder)
    if len(found) == 1:
        return found[0]
    if found:
        raise IsolateError(
            build_message(
                f"{name!r} could be any of {len(found)} containers",
                found=[f"{n.found.name}  {n.words} of run {n.whose.run} ({n.whose.state})" for n in found],
                do="name the container",
            )
        )
    known = sorted({n.service for n in named})
    raise IsolateError(
        build_message(
            f"no container of ours is called {name!r}{suggest(name, known)}",
            found=f"there are {', '.join(known)}" if known else "nothing of ours runs on the engine",
            do="see what there is: pytest-isolate ps",
        )
    )


def complete_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Words to type for NAME: services by name, and containers where a name is not enough."""
    try:
        with redirect_stderr(io.StringIO()), open_engine() as opened:
            named = all_named(opened.runs())
    except SystemExit:
        return []  # an error text would land in the middle of the line that is being typed
    return [CompletionItem(word, help=text) for word, text in completions(named) if word.startswith(incomplete)]


def completions(named: Sequence[FoundContainer]) -> list[tuple[str, str]]:
    """Every service's name once, then every container's, each with what it is."""
    services = {n.service: f"{n.whose.state}, run {n.whose.run}" for n in reversed(named)}
    containers = {n.found.name: f"{n.service} of run {n.whose.run}" for n in named}
    return [*sorted(services.items()), *sorted(containers.items())]


def _is_id(name: str, object_id: str) -> bool:
    return len(name) >= _SHORTEST_ID and object_id.startswith(name)


def _nearest(found: Sequence[FoundContainer], name: str, folder: str) -> list[FoundContainer]:
    """The best of those that the name fits: exact before short, up before running, this project before others."""

    def rank(one: FoundContainer) -> tuple[bool, bool, bool, bool]:
        state, is_exact = one.whose.state, name in (one.service, one.words)
        return (not is_exact, not is_project_of(one.whose.project, folder), state != UP, state == DEAD)

    best = min(map(rank, found), default=None)
    return [one for one in found if rank(one) == best]
