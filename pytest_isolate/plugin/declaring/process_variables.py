"""Variables of this process's environment, set until pytest ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest

from pytest_isolate.plugin.options import ENGINE_OPTIONS


def set_engine_variables(config: pytest.Config) -> None:
    """Set what names the engine in the environment, however it was given: commands and the guardian find it there."""
    options = getattr(config, "known_args_namespace", None)
    given = {option.variable: option.read(config, options) for option in ENGINE_OPTIONS}
    change_variables(config, {name: value for name, value in given.items() if value})


def change_variables(
    config: pytest.Config, changes: Mapping[str, str], after: Callable[[], None] = lambda: None
) -> None:
    """Set variables until pytest ends; `after` is called when they are put back."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)

    def restore() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        after()

    config.add_cleanup(restore)
