"""Leftovers of earlier runs: removed only where their owner is provably dead, or where they were kept too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from pytest_isolate.engine.api import Engine, Labelled
from pytest_isolate.errors import CleanupError, EngineError
from pytest_isolate.model.identity import LABEL_OWNER, LABEL_REUSE, LABEL_RUN, LABEL_SNAPSHOT, Owner, parse_owner
from pytest_isolate.running.images.replaced import ReplacedImages, describe_replaced, is_replaced
from pytest_isolate.running.images.snapshots import judge_snapshots, must_be_judged, note_judged
from pytest_isolate.running.ownership.retention import read_marks, retained_ids
from pytest_isolate.running.ownership.reuse import ReuseStore, is_manual
from pytest_isolate.sharing.folders import Usage, remove_dead_folders
from pytest_isolate.sharing.owners import Verdict, judge, read_start_time

# Networks and volumes can go only when no container uses them any more.
_ORDER = ("container", "volume", "network")
_ABANDONED = "its run has not been heard of for too long"
_ANOTHERS = "kept by another user, or on another machine"


class Judged(Struct, frozen=True):
    """An object of ours with its verdict."""

    found: Labelled
    verdict: Verdict


class Sweep:
    """Finds, judges and removes objects; `kept` is the folder where projects note what they keep."""

    def __init__(
        self,
        engine: Engine,
        here: Owner,
        kept: Path,
        usage: Usage,
        time: Callable[[], float],
        replaced: ReplacedImages | None = None,
    ) -> None:
        self._engine = engine
        self._here = here
        self._kept = kept
        self._usage = usage
        self._time = time
        self._replaced = replaced

    def judge_for(self, run_id: str) -> list[Judged]:
        """Judge all objects but those of a run that begins; snapshots only from time to time."""
        judged = self._judge_objects(run_id)
        if must_be_judged(self._usage, self._time()):
            judged += self._judge_snapshots()
            note_judged(self._usage)
        return judged

    def judge(self) -> list[Judged]:
        """Judge every object that carries our labels, and the images that builds of ours have replaced."""
        replaced = self._replaced.find() if self._replaced else []
        verdicts = [Judged(image, Verdict(True, describe_replaced(image))) for image in replaced]
        return self._judge_objects() + self._judge_snapshots() + verdicts

    def judge_left(self, run_id: str) -> list[Judged]:
        """Judge what a run has kept, for a look inside or for later runs, which its user gives up."""
        retained = retained_ids(read_marks(self._engine), run_id)
        found = self._find(lambda item: item.object_id in retained or _is_for_later_runs(item, run_id))
        return [Judged(item, self._judge_left(item)) for item in found]

    def remove(self, judged: Sequence[Judged], *, discarding: bool = False) -> list[Labelled]:
        """Remove what was judged dead, containers first; goes on after errors, and raises them as a CleanupError.

        Of what is kept for later runs only what was idle for too long; with `discarding`, all that no run uses.
        """
        failures: list[str] = []
        removed: list[Labelled] = []
        remove = partial(self._remove_each, removed=removed, failures=failures)
        dead = [j.found for j in judged if j.verdict.is_dead and LABEL_REUSE not in j.found.labels]
        remove([item for item in dead if item.kind != "image"])
        removed += self._remove_images([item for item in dead if item.kind == "image"])
        for project in sorted({j.found.labels[LABEL_REUSE] for j in judged if LABEL_REUSE in j.found.labels}):
            if (self._kept / project).is_dir() and discarding:
                self._discard(project, remove)
            elif (self._kept / project).is_dir():
                kept = [j.found for j in judged if j.found.labels.get(LABEL_REUSE) == project]
                self._reuse_store(project).expire(kept, self._here, read_start_time, remove)
        remove_dead_folders(self._here)
        if failures:
            raise CleanupError(failures, do="pytest-isolate gc tries again")
        return removed

    def _discard(self, project: str, remove: Callable[[Sequence[Labelled]], None]) -> None:
        def remove_all() -> None:
            remove(self._find(lambda item: item.labels.get(LABEL_REUSE) == project))

        self._reuse_store(project).discard(self._here, read_start_time, remove_all)

    def _judge_left(self, item: Labelled) -> Verdict:
        project = item.labels.get(LABEL_REUSE)
        if project is None:
            return Verdict(True, "nobody looks inside any more")
        if not (self._kept / project).is_dir():
            return Verdict(False, _ANOTHERS)
        return self._reuse_store(project).judge_discarded(self._here, read_start_time)

    def _find(self, is_meant: Callable[[Labelled], bool]) -> list[Labelled]:
        found = filter(is_meant, self._engine.find_labelled(LABEL_RUN))
        return sorted(found, key=lambda item: (_ORDER.index(item.kind), item.name))

    def _judge_objects(self, own_run: str = "") -> list[Judged]:
        judged = [Judged(o, self._judge(o)) for o in self._find(lambda o: o.labels.get(LABEL_RUN) != own_run)]
        # Marks are read after the verdicts: an owner that was found dead has written all of its marks by now.
        marked = self._judge_marked()
        return [Judged(j.found, marked.get(j.found.object_id, j.verdict)) for j in judged]

    def _judge_snapshots(self) -> list[Judged]:
        images = sorted(self._engine.list_images(LABEL_SNAPSHOT), key=lambda image: image.name)
        verdicts = judge_snapshots(images, self._usage.read(), self._time())
        return list(map(Judged, images, verdicts))

    def _judge_marked(self) -> dict[str, Verdict]:
        """Verdicts on the objects that runs have kept on purpose, by id."""
        verdicts: dict[str, Verdict] = {}
        for mark in read_marks(self._engine):
            left_s = mark.until - self._time()
            text = f"kept for a look inside, for {left_s / 3600:.1f} h more (pytest-isolate remove {mark.run_id})"
            verdict = Verdict(False, text) if left_s > 0 else Verdict(True, "was kept for a look inside, long enough")
            verdicts |= dict.fromkeys(mark.objects, verdict)
        return verdicts

    def _judge(self, item: Labelled) -> Verdict:
        project = item.labels.get(LABEL_REUSE)
        if project is None:
            verdict = judge(parse_owner(item.labels.get(LABEL_OWNER, "")), self._here, read_start_time)
            is_unknown = not verdict.is_dead and not verdict.is_alive
            return Verdict(True, _ABANDONED) if item.is_abandoned and is_unknown else verdict
        if not (self._kept / project).is_dir():
            return Verdict(False, _ANOTHERS)
        return self._reuse_store(project).judge(item, self._here, read_start_time)

    def _remove_images(self, images: Sequence[Labelled]) -> list[Labelled]:
        """Remove the images that no container uses; a later sweep tries the others again."""
        removed = []
        for image in images:
            with suppress(EngineError):
                if self._remove_image(image):
                    removed.append(image)
        return removed

    def _remove_image(self, image: Labelled) -> bool:
        if is_replaced(image):
            return self._replaced is not None and self._replaced.remove(image)
        self._engine.remove_image(image.name)
        self._usage.forget(image.labels[LABEL_SNAPSHOT])
        return True

    def _reuse_store(self, project: str) -> ReuseStore:
        return ReuseStore(self._kept / project, self._time)

    def _remove_each(self, found: Sequence[Labelled], removed: list[Labelled], failures: list[str]) -> None:
        removers = {
            "container": self._engine.remove_container,
            "volume": self._engine.remove_volume,
            "network": self._engine.remove_network,
        }
        # Another sweep may be removing the same objects: a second look tells which are really left.
        for _ in range(2):
            errors = {}
            for item in found:
                try:
                    removers[item.kind](item.object_id)
                except EngineError as error:
                    errors[item.object_id] = str(error)
            there = {o.object_id for o in self._engine.find_labelled(LABEL_RUN)} if errors else set()
            left = errors.keys() & there
            removed += [item for item in found if item.object_id not in left]
            found = [item for item in found if item.object_id in left]
        failures += [errors[item.object_id] for item in found]


def _is_for_later_runs(item: Labelled, run_id: str) -> bool:
    project = item.labels.get(LABEL_REUSE)
    return project is not None and not is_manual(project) and item.labels.get(LABEL_RUN) == run_id
