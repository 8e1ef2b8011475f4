"""Marks on the engine: the objects that runs have left for somebody to look inside, and until when.

Labels of what exists cannot be changed, and files of one user are not seen by another. So a mark is an empty volume,
seen by every sweep, whose label names the objects. One request makes it: from then on all of them are kept, or none.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping

from msgspec import Struct

from pytest_isolate.engine.api import Engine, Removing
from pytest_isolate.model.identity import LABEL_KEPT, LABEL_RUN, Run

# Over a night; who needs longer has noted down what there is to see.
KEPT_S = 24 * 3600.0


class RetentionMark(Struct, frozen=True, kw_only=True):
    """The ids of objects of a run that outlive it, until a time in seconds of the epoch."""

    run_id: str
    until: float
    objects: frozenset[str]


def write_mark(engine: Engine, run: Run, objects: Iterable[str], until: float) -> frozenset[str]:
    """Keep these objects of a run until then; return their ids, with the mark's own."""
    name = run.resource_name("kept", secrets.token_hex(4))
    kept = frozenset({name, *objects})
    label = json.dumps({"until": until, "objects": sorted(kept)})
    engine.create_volume(name, run.labels() | {LABEL_KEPT: label})
    return kept


def read_marks(engine: Removing) -> tuple[RetentionMark, ...]:
    """Every mark on the engine that can be read."""
    marks = map(_parse, engine.labels_of_volumes(LABEL_KEPT))
    return tuple(mark for mark in marks if mark)


def retained_ids(marks: Iterable[RetentionMark], run_id: str) -> frozenset[str]:
    """The ids of what a run has left on purpose."""
    return frozenset().union(*(mark.objects for mark in marks if mark.run_id == run_id))


def _parse(labels: Mapping[str, str]) -> RetentionMark | None:
    try:
        content = json.loads(labels[LABEL_KEPT])
        objects = frozenset(map(str, content["objects"]))
        return RetentionMark(run_id=labels[LABEL_RUN], until=float(content["until"]), objects=objects)
    except (ValueError, TypeError, KeyError):
        return None
