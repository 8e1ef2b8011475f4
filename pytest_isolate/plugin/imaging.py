"""Which images the selected tests need, pulled or built where they are missing, for `pytest-isolate images save`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pytest_isolate.planning.plan import Plan
from pytest_isolate.plugin.run import xdist
from pytest_isolate.plugin.run.opening import connected
from pytest_isolate.plugin.options import build_settings
from pytest_isolate.plugin.command.up import Told
from pytest_isolate.plugin.run.wiring import build_snapshots
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.images.images import Images
from pytest_isolate.running.needing import Use, find_needed
from pytest_isolate.sharing.board import Board, built_folder, open_locks


def tell_needed(config: pytest.Config, tell: Callable[..., None]) -> None:
    """Tell of each image, when all are there. Every worker of xdist has collected the same tests: one tells."""
    if not xdist.is_first(config):
        return
    run: Any = config.pluginmanager.get_plugin("isolate-session")
    plan = run.plan if run else Plan()
    uses = {
        (instance.key.service, instance.key.fingerprint, instance.key.variation): Use(
            service=str(instance.key.service), stack=instance.key.service.stack.name, spec=instance.spec
        )
        for instance in (step.instance for step in plan.steps)
        if not instance.spec.used
    }
    with connected(config) as engine, closing(engine), TemporaryDirectory(prefix="pytest-isolate-fetched-") as fetched:
        told = Told(SystemClock(), tell).tell
        images = Images(engine, open_locks(), Board(built_folder()), Board(Path(fetched)), told)
        snapshots = build_snapshots(engine) if build_settings(config).cache else None
        for needed in find_needed(engine, images, snapshots, uses.values()):
            tell("image", **asdict(needed))
    tell("done")
