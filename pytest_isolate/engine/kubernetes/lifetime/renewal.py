"""Renewal of the Leases of runs, by which others see that a run is over whose machine has vanished."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_isolate.engine.kubernetes.api_errors import ApiError
from pytest_isolate.engine.kubernetes.objects.object_labels import read_labels
from pytest_isolate.engine.kubernetes.pods import read_moment
from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import LABEL_REUSE, LABEL_RUN

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient

_EVERY_S = 300.0
# A machine that sleeps, and a clock that is wrong, are within it.
STALE_AFTER_S = 7200


class Renewal:
    """Renews Leases until it is closed. One that was never renewed does not become stale: the right may be missing."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._paths: set[str] = set()
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def add(self, path: str) -> None:
        """Renew this one, too."""
        with self._lock:
            is_first = not self._paths
            self._paths.add(path)
        if is_first:
            threading.Thread(target=self._renew, name="isolate-lease", daemon=True).start()

    def close(self) -> None:
        """Renew no longer."""
        self._closed.set()

    def _renew(self) -> None:
        while not self._closed.is_set():
            with self._lock:
                paths = list(self._paths)
            for path in paths:
                spec = {"renewTime": moment_now(), "leaseDurationSeconds": STALE_AFTER_S}
                try:
                    self._client.patch(path, {"spec": spec})
                except ApiError as error:
                    if error.status in (403, 404):
                        with self._lock:
                            self._paths.discard(path)
                            if not self._paths:
                                return
                except EngineError:
                    pass  # the server is away: the next time is soon enough
            self._closed.wait(_EVERY_S)


def moment_now() -> str:
    """This moment as Kubernetes writes it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def find_abandoned(owners: Iterable[Mapping[str, Any]]) -> set[str]:
    """The runs, of these owners of runs, that have not renewed their Lease for too long."""
    stale = [read_labels(owner) for owner in owners if _is_stale(owner.get("spec") or {}, time.time())]
    return {labels[LABEL_RUN] for labels in stale if LABEL_RUN in labels and LABEL_REUSE not in labels}


def _is_stale(spec: Mapping[str, Any], now: float) -> bool:
    duration_s, renewed = spec.get("leaseDurationSeconds") or 0, spec.get("renewTime") or ""
    return bool(duration_s and renewed) and read_moment(renewed) + duration_s < now
