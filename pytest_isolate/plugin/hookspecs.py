"""The hooks that this plugin offers to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_isolate.engine.api import Engine


@pytest.hookspec(firstresult=True)
def pytest_isolate_engine(config: pytest.Config) -> Engine | None:
    """The container engine to use instead of the one that would be found; None leaves it at that."""
