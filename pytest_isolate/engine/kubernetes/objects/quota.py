"""Memory that a namespace has for pods, by its quotas. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_isolate.engine.kubernetes.objects.manifests import read_quantity

NO_QUOTA_BYTES = 1 << 40


def read_memory(quotas: Iterable[Mapping[str, Any]]) -> int:
    """Bytes that the tightest of these quotas allows to the limits of all pods; `NO_QUOTA_BYTES` without one."""
    found = [
        int(read_quantity(hard[name]))
        for quota in quotas
        for hard in [(quota.get("status") or {}).get("hard") or (quota.get("spec") or {}).get("hard") or {}]
        for name in ("limits.memory", "requests.memory", "memory")
        if name in hard
    ]
    return min(found, default=NO_QUOTA_BYTES)
