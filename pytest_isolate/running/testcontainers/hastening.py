"""Modules of testcontainers look every tenth of a second, not every second, whether their server is ready."""

from __future__ import annotations

from testcontainers.core.config import testcontainers_config

from pytest_isolate.running.testcontainers.adapted import Adapted

_PAUSE_S = 0.1
# What testcontainers does where nobody says otherwise (TC_POOLING_INTERVAL).
_USUAL_PAUSE_S = 1.0


def hasten(module: Adapted) -> None:
    """Shorten the pauses of its waits, where they are the usual ones; how long they last in all stays as it is."""
    strategy = module._wait_strategy
    if strategy is not None and getattr(strategy, "_poll_interval", 0) == _USUAL_PAUSE_S:
        strategy.with_poll_interval(_PAUSE_S)
    if testcontainers_config.sleep_time == _USUAL_PAUSE_S:
        # Waits that a module makes on its way ask the library's settings; a longest time is tries times pause.
        testcontainers_config.max_tries = round(testcontainers_config.timeout / _PAUSE_S)
        testcontainers_config.sleep_time = _PAUSE_S
