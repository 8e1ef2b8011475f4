"""Fixtures of the unit tests."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from .builders import FakeClock

# Machines that run several suites at once are slow at times; that says nothing about the code.
settings.register_profile(
    "unit", deadline=None, max_examples=40, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
