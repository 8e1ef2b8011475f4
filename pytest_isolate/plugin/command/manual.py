"""The plugin of the command's own pytest: `pytest-isolate up` and `plan` use it to see what pytest sees.

It is loaded with `-p`, and then answers what the environment asks for when pytest has collected everything.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

import pytest
from msgspec import to_builtins

from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.errors import DeclarationError, IsolateError, PlanError, build_message, suggest
from pytest_isolate.model.declaration import Declared, RawVariants
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.planning.plan import Plan, describe_plan
from pytest_isolate.plugin.command.up import ProgressTimeline, start
from pytest_isolate.plugin.declaring.fixtures import all_declared
from pytest_isolate.plugin.items.catalogues import load_catalogue, members
from pytest_isolate.plugin.options import build_settings
from pytest_isolate.plugin.run import xdist
from pytest_isolate.plugin.run.opening import engine_for_command
from pytest_isolate.plugin.run.wiring import build_snapshots
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.images.images import Images
from pytest_isolate.running.images.transfer import ImageUse, find_required_images
from pytest_isolate.sharing import command
from pytest_isolate.sharing.board import Board, open_locks
from pytest_isolate.sharing.folders import built_folder, process_folder, remove_dead_folders
from pytest_isolate.sharing.owners import read_owner
from pytest_isolate.text import without_root

_EXIT_FAILED, _EXIT_USAGE, _EXIT_DECLARED = 1, 2, 4
# All tests of the project can ask for these; what a test module declares is for its own tests.
_FOR_ALL = ("conftest.py", ".toml")


class UnknownName(IsolateError):
    """A name to start that is not declared."""


def tell_needed(config: pytest.Config, tell: Callable[..., None]) -> None:
    """Tell of each image, when all are there."""
    if not xdist.is_first(config):  # every worker has collected the same tests
        return
    uses = {
        (instance.key.service, instance.key.fingerprint, instance.key.variation): ImageUse(
            service=str(instance.key.service), stack=instance.key.service.stack.name, spec=instance.spec
        )
        for instance in (step.instance for step in _plan_of(config).steps)
        if not instance.spec.external
    }
    with (
        engine_for_command(config) as engine,
        closing(engine),
        process_folder("fetched") as fetched,
    ):
        on_progress = ProgressTimeline(SystemClock(), tell).on_progress
        images = Images(engine, open_locks(), Board(built_folder()), Board(fetched), on_progress)
        snapshots = build_snapshots(engine) if build_settings(config).cache else None
        for needed in find_required_images(engine, images, snapshots, uses.values()):
            tell("image", **to_builtins(needed))
    tell("done")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Answer, now that everything is known. In xdist's workers too, which alone collect where it is used."""
    request = command.read_request(os.environ)
    if request is None:
        return
    tell = functools.partial(command.send, request)
    if request.what == command.PLAN:
        plan = _plan_of(session.config)
        tell("plan", lines=list(describe_plan(plan)), steps=list(map(_describe, plan.steps)))
        return
    try:
        if request.what == command.IMAGES:
            tell_needed(session.config, tell)
        else:
            catalogue = load_catalogue(session)
            services = choose(request.names, all_declared(session), catalogue)
            start(session.config, catalogue, services, tell)
    except IsolateError as error:
        tell("error", text=without_root(str(error), session.config.rootpath), code=_exit_code(error))


def pytest_unconfigure() -> None:
    """Remove the folders of killed commands, which have no guardian; the command of this pytest may be one of them."""
    remove_dead_folders(read_owner())


def _plan_of(config: pytest.Config) -> Plan:
    run: Any = config.pluginmanager.get_plugin("isolate-session")
    return run.plan if run else Plan()


def choose(names: Sequence[str], declared: Iterable[Declared], catalogue: Catalogue) -> list[ServiceId]:
    """The services that are meant: those of these names, or all that conftest.py files and TOML declare."""
    known = [item for item in declared if not isinstance(item.raw, RawVariants)]
    if not names:
        known = [item for item in known if item.raw.location.file.endswith(_FOR_ALL)]
        names = [item.name for item in known]
    chosen: dict[ServiceId, None] = {}
    for name in names:
        whole, _, member = name.partition(".")
        found = [
            service
            for item in known
            if item.name == whole
            for service in members(catalogue, item.name, item.namespace)
            if not member or (service.stack == StackId(item.namespace, whole) and service.name == member)
        ]
        if not found:
            raise _unknown(name, known, catalogue)
        chosen |= dict.fromkeys(found)
    return list(chosen)


def _unknown(name: str, known: Iterable[Declared], catalogue: Catalogue) -> UnknownName:
    names = sorted({item.name for item in known} | {str(s) for s in catalogue.services if s.stack.name})
    return UnknownName(
        build_message(
            f"no service or stack {name!r} is declared for this folder{suggest(name, names)}",
            valid=", ".join(names) or "none: nothing is declared in conftest.py files or TOML",
        )
    )


def _exit_code(error: IsolateError) -> int:
    if isinstance(error, UnknownName):
        return _EXIT_USAGE
    return _EXIT_DECLARED if isinstance(error, (DeclarationError, PlanError)) else _EXIT_FAILED


def _describe(step: Any) -> dict[str, Any]:
    """One step of a plan in plain types."""
    instance = step.instance
    return {
        "service": str(instance.key.service),
        "folder": instance.key.service.stack.namespace,
        "image": instance.spec.source,
        "scope": instance.key.place.scope.word,
        "place": instance.key.place.node,
        "worker": instance.key.place.worker,
        "variant": [str(change) for change in instance.key.variation],
        "needs": [alias for alias, _ in instance.dependencies],
        "tests": step.tests,
        "first_test": step.first_test,
    }
