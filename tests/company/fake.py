"""A plugin that has a project's services run on the fake engine."""

from __future__ import annotations

from fakes.engine import FakeEngine, open_fake


def pytest_isolate_engine() -> FakeEngine:
    return open_fake()
