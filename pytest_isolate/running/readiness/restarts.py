"""Restarts of a container that ends while it is waited for, as its policy asks for them."""

from __future__ import annotations

# As Docker does it; the pause doubles with each restart.
_FIRST_PAUSE_S = 0.1
# Docker has no limit for most policies. What has failed so often is not late, but wrong.
MOST_RESTARTS = 10


def find_pause(policy: str, exit_code: int | None, count: int) -> float | None:
    """Return the pause before a container is started again, for the time after `count`; None where it is not."""
    name, _, most = policy.partition(":")
    if name not in ("always", "unless-stopped") and (name != "on-failure" or exit_code == 0):
        return None
    return _FIRST_PAUSE_S * 2**count if count < int(most or MOST_RESTARTS) else None
