"""Services that start before pytest has collected: those that the last run with the same selection began with.

pytest's cache knows them by the codes of their instances, which say all that is declared of them, so that nothing is
started but what is declared today as it was then. To the rest of the run this is one more process that has started
them: the plan's own starts find them published, or wait for them. What the plan does not want is removed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.errors import IsolateError
from pytest_isolate.model.service import Scope
from pytest_isolate.planning.per_test import catalogue_with
from pytest_isolate.planning.placement import Instance, ItemPosition, place_instances
from pytest_isolate.planning.plan import Plan, Step
from pytest_isolate.planning.variant_rows import visible_rows
from pytest_isolate.plugin.items.catalogues import load_catalogue
from pytest_isolate.plugin.options import parse_variants
from pytest_isolate.plugin.run.opening import in_background, open_run
from pytest_isolate.plugin.run.shutdown import close_services
from pytest_isolate.plugin.run.wiring import Wired, wire
from pytest_isolate.running.containers.running import instance_hash
from pytest_isolate.sharing.board import Board

if TYPE_CHECKING:
    from pytest_isolate.plugin.run.process import RunProcess

CACHE_KEY = "isolate/first-services"
# Selections that are remembered, the newest last.
_MOST_SELECTIONS = 20
# Files of a service that are looked at, whether collecting has changed them: more than that takes too long.
_MOST_FILES = 2000
_PLANNED = "planned"
# The place of a test that is not known yet: what lives for the whole run has the same instance in each.
_ANYWHERE = ItemPosition(test="", test_class="", module="")


class FirstServices(Struct, frozen=True):
    """Codes of the instances that a run began with, and of those among them whose data was copied."""

    started: Collection[str] = ()
    copied: Collection[str] = ()


class EarlyStarts:
    """Starts of one process, before its tests are known."""

    def __init__(self, process: RunProcess) -> None:
        self._process = process
        self._opening: Future[Wired] | None = None
        self._started: dict[str, tuple[Instance, object]] = {}
        self._removals: list[threading.Thread] = []

    @property
    def wired(self) -> Wired | None:
        """The objects that start them; None where there are none, or no engine."""
        if self._opening is None:
            return None
        try:
            return self._opening.result()
        except IsolateError:
            return None  # told where the plan needs it

    def begin(self, session: pytest.Session, remembered: FirstServices) -> None:
        """Begin to start, in the background, what is remembered and declared as it was."""
        for instance in find_declared(session, remembered.started):
            stamp = _stamp(instance)
            if stamp is not None and self._started.keys() >= _needed_by(instance):
                self._started[instance_hash(instance.key)] = instance, stamp
        if self._started:
            member = self._process.member  # its folder is made here, and by one thread
            Board(member.folder)
            self._opening = in_background(lambda: self._open(remembered.copied))

    def settle(self, wanted: Collection[str]) -> None:
        """Remove what the plan does not want; and at once what it wants, where collecting has changed its files.

        To be asked once more when another process may have changed files.
        """
        wired = self.wired
        if wired is None:
            return
        changed: set[str] = set()
        for code, (instance, stamp) in self._started.items():  # each comes behind what it needs
            if stamp != _stamp(instance) or changed.intersection(_needed_by(instance)):
                changed.add(code)
        for code, (instance, _) in reversed(list(self._started.items())):
            if code in wanted and code not in changed:
                continue
            del self._started[code]
            if code not in wanted:
                thread = threading.Thread(
                    target=wired.lifecycle.discard, args=(instance.key,), name="isolate-unwanted", daemon=True
                )
                thread.start()
                self._removals.append(thread)
            else:
                wired.lifecycle.discard(instance.key)
                Board(self._process.member.folder).withdraw(code)  # also where it has failed as it was

    def settle_with_workers(self) -> None:
        """Do the same with what xdist's workers have planned, all alike. None has a test before all have collected."""
        planned = Board(self._process.member.folder).read(_PLANNED) if self._opening else None
        if planned is not None:
            self.settle(planned["codes"])

    def stop(self, timeout_s: float) -> dict[str, Any]:
        """Begin nothing more; the usage of what was started."""
        wired = self.wired
        if wired is None:
            return {}
        for thread in self._removals:
            thread.join(timeout_s)
        close_services(wired, timeout_s)
        for running in wired.lifecycle.ready():
            wired.usage_meter.read(running)
        return wired.usage_meter.figures()

    def close(self) -> None:
        """Close what is open. Safe to repeat."""
        wired, self._opening = self.wired, None
        if wired:
            wired.close(0)

    def _open(self, copied: Collection[str]) -> Wired:
        process, instances = self._process, [instance for instance, _ in self._started.values()]
        opened = open_run(process.config, process.member, process.settings, process.clock, process.report)
        steps = tuple(Step(instance=instance, tests=1, first_test="") for instance in instances)
        # Nothing is copied here, but its first state is put aside: no test has seen it yet.
        copies: Mapping[Any, tuple[()]] = {i.key: () for i in instances if instance_hash(i.key) in copied}
        plan = Plan(steps=steps, copies=copies)
        wired = wire(opened, process.member, process.settings, plan, process.clock, process.timeline)
        wired.lifecycle.start(instances)
        return wired


def first_services(plan: Plan) -> FirstServices:
    """Services that a run with this plan begins with, as far as its processes share them."""
    shared = [i for i in plan.first_wave if not i.key.place.worker and not i.spec.external]
    copied = [instance_hash(i.key) for i in shared if i.key in plan.copies]
    return FirstServices(started=[instance_hash(i.key) for i in shared], copied=copied)


def tell_controller(plan: Plan, folder: Path) -> None:
    """In a worker, let the controller know what its early starts are wanted for."""
    Board(folder).publish(_PLANNED, {"codes": [instance_hash(step.instance.key) for step in plan.steps]})


def recall(config: pytest.Config) -> FirstServices:
    """Services that the last run with this selection began with."""
    cache = getattr(config, "cache", None)
    known = cache.get(CACHE_KEY, {}) if cache else {}
    found = known.get(selection_of(config), {}) if isinstance(known, dict) else {}
    return FirstServices(found.get("started", ()), found.get("copied", ()))


def remember(config: pytest.Config, first: FirstServices) -> None:
    """Note for the next run with this selection what it will begin with."""
    cache = getattr(config, "cache", None)
    if cache is None:
        return
    known = cache.get(CACHE_KEY, {})
    known = known if isinstance(known, dict) else {}
    selection, found = selection_of(config), {"started": list(first.started), "copied": list(first.copied)}
    if known.get(selection) != found and (first.started or selection in known):
        others = [(name, value) for name, value in known.items() if name != selection]
        cache.set(CACHE_KEY, dict([*others, (selection, found)][-_MOST_SELECTIONS:]))


def selection_of(config: pytest.Config) -> str:
    """A word for what decides which tests are selected."""
    names = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "failedfirst", "stepwise")
    chosen = [getattr(config.option, name, None) for name in names]
    text = json.dumps([list(config.args), chosen, parse_variants(config)], default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def find_declared(session: pytest.Session, codes: Collection[str]) -> list[Instance]:
    """The instances with these codes, each behind what it needs, as far as they are declared before collection."""
    found: dict[str, Instance] = {}
    try:
        for catalogue in _catalogues(load_catalogue(session)):
            lasting = [s for s, spec in catalogue.services.items() if spec.scope is Scope.SESSION and not spec.external]
            for instance in place_instances(lasting, catalogue, _ANYWHERE):
                code = instance_hash(instance.key)
                if code in codes:
                    found.setdefault(code, instance)
    except (IsolateError, RecursionError):
        return []  # told when all is collected
    return list(found.values())


def _catalogues(declared: Catalogue) -> Iterable[Catalogue]:
    yield declared
    for row in visible_rows(declared.groups, ""):
        if row:
            yield catalogue_with(declared, row, {}, [], os.path.exists)


def _needed_by(instance: Instance) -> set[str]:
    return {instance_hash(key) for _, key in instance.dependencies}


def _stamp(instance: Instance) -> object:
    """A value that changes with the files that a service is made of; None where they are too many to look at."""
    spec = instance.spec
    stamps: list[tuple[str, int, int, int]] = []
    for source in (*spec.sources, *([spec.build.context, spec.build.dockerfile] if spec.build else [])):
        for path in _files_of(source):
            if len(stamps) >= _MOST_FILES:
                return None
            try:
                status = os.lstat(path)
            except OSError:
                continue
            stamps.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
    return stamps


def _files_of(source: str) -> Iterable[str]:
    yield source
    for folder, _, names in os.walk(source):
        for name in names:
            yield os.path.join(folder, name)
