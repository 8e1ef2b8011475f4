"""Owners of the objects on the engine: grouped by run, each run judged alive, dead, kept or unknown. Pure."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct

from pytest_isolate.engine.api import Labelled
from pytest_isolate.model.identity import (
    LABEL_ALTERNATIVES,
    LABEL_OWNER,
    LABEL_PROJECT,
    LABEL_REUSE,
    LABEL_RUN,
    LABEL_SERVICE,
    LABEL_STACK,
    LABEL_USER,
    parse_owner,
)
from pytest_isolate.running.ownership.reuse import is_manual
from pytest_isolate.sharing.owners import Verdict

UP, KEPT, ALIVE, DEAD, UNKNOWN = "up", "kept", "alive", "dead", "unknown"
"""States of a run. `up` is what `pytest-isolate up` has started; `unknown` cannot be told from here."""
_DEFAULT_STACK = "default"


class RunOwner(Struct, frozen=True, kw_only=True):
    """The owner of a run, as far as its labels tell."""

    run: str
    state: str
    reason: str
    host: str = ""
    user: str = ""
    pid: int | None = None
    project: str = ""


class RunOnEngine(Struct, frozen=True, kw_only=True):
    """A run, and all that it has on the engine; containers by the names of their services."""

    owner: RunOwner
    containers: tuple[Labelled, ...] = ()
    others: Mapping[str, int] = {}


def group_runs(judged: Sequence[tuple[Labelled, Verdict]]) -> tuple[RunOnEngine, ...]:
    """Every run with objects on the engine, those that are up first; `judged` are the objects with their verdicts."""
    by_run: dict[str, list[tuple[Labelled, Verdict]]] = defaultdict(list)
    for item, verdict in judged:
        by_run[item.labels.get(LABEL_RUN, "")].append((item, verdict))
    runs = [_build_run(items) for items in by_run.values()]
    order = (UP, ALIVE, KEPT, UNKNOWN, DEAD)
    return tuple(sorted(runs, key=lambda r: (order.index(r.owner.state), r.owner.run)))


def describe_service(labels: Mapping[str, str]) -> str:
    """A service as people call it: `db`, or `hr.db` in a stack."""
    stack, name = labels.get(LABEL_STACK, _DEFAULT_STACK), labels.get(LABEL_SERVICE, "")
    return name if stack == _DEFAULT_STACK else f"{stack}.{name}"


def describe_container(labels: Mapping[str, str]) -> str:
    """A service with the alternatives that this container of it has: `db[postgres-16]`."""
    return describe_service(labels) + labels.get(LABEL_ALTERNATIVES, "")


def read_whose(labels: Mapping[str, str], verdict: Verdict) -> RunOwner:
    """Return the owner of an object."""
    owner = parse_owner(labels.get(LABEL_OWNER, ""))
    is_lasting = LABEL_REUSE in labels
    return RunOwner(
        run=labels.get(LABEL_RUN, ""),
        state=_state(labels, verdict),
        reason=verdict.reason,
        host=owner.host.rpartition("/")[2] if owner else "",
        user=labels.get(LABEL_USER, ""),
        # What outlives its process does not belong to it.
        pid=owner.pid if owner and not is_lasting else None,
        project=labels.get(LABEL_PROJECT, ""),
    )


def is_project_of(project: str, folder: str) -> bool:
    """True for a folder in a project's; a project may have a name in place of a folder."""
    if not os.path.isabs(project):
        return False
    return folder == project or folder.startswith(project.rstrip(os.sep) + os.sep)


def _state(labels: Mapping[str, str], verdict: Verdict) -> str:
    if LABEL_REUSE in labels:
        return UP if is_manual(labels[LABEL_REUSE]) else KEPT
    if verdict.is_dead or verdict.is_alive:
        return DEAD if verdict.is_dead else ALIVE
    # What a run has left on purpose carries its own labels; only the verdict knows of it.
    return KEPT if verdict.reason.startswith(KEPT) else UNKNOWN


def _build_run(items: Sequence[tuple[Labelled, Verdict]]) -> RunOnEngine:
    containers = [item for item, _ in items if item.kind == "container"]
    others = Counter(item.kind for item, _ in items if item.kind != "container")
    first, verdict = min(items, key=lambda pair: (pair[0].kind != "container", pair[0].name))
    ordered = tuple(sorted(containers, key=lambda c: (describe_container(c.labels), c.name)))
    return RunOnEngine(owner=read_whose(first.labels, verdict), containers=ordered, others=others)
