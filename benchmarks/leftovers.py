"""What a contender leaves on the engine, told apart from what others make there at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from benchmarks.engine import Engine, RefusedError

# Some remove in the background: an engine that removes what has ended, a guardian. Only what stays is left behind.
SETTLE_S = 15
_SHARED_NETWORKS = {"bridge", "host", "none"}
_FORCE: dict[str, dict[str, object]] = {"containers": {"force": 1, "v": 1}, "volumes": {"force": 1}, "networks": {}}


class Leftovers:
    """Counts for each contender what its runs leave, and removes it so that the next one starts clean.

    What belongs to a run is a container with our images' label, and the volumes and networks such a container uses.
    """

    def __init__(self, engine: Engine, label: str, keeping: Sequence[str] = ()) -> None:
        self._engine = engine
        self._label, _, self._label_value = label.partition("=")
        self._keeping = keeping
        self._kept: set[tuple[str, str]] = set()
        self.counts: dict[str, dict[str, int]] = {}

    @contextmanager
    def watch(self, contender: str) -> Iterator[None]:
        """Around one run of a contender."""
        events = self._engine.stream_events()
        seen: list[dict[str, Any]] = []
        reader = threading.Thread(target=lambda: seen.extend(events), daemon=True)
        reader.start()
        try:
            yield
        finally:
            used = self._settle(contender, lambda: self._used(list(seen)))
            events.close()
            reader.join(5)
            self._count(contender, used)
            self.remove(used)

    def remove_kept(self) -> None:
        """What was kept from run to run on purpose."""
        self.remove(self._kept)

    def remove(self, things: set[tuple[str, str]]) -> None:
        for kind, name in sorted(things):  # containers first: they hold the others
            with suppress(RefusedError):
                self._engine.call("DELETE", f"/{kind}/{name}", **_FORCE[kind])

    def _settle(self, contender: str, find: Callable[[], set[tuple[str, str]]]) -> set[tuple[str, str]]:
        """What of all that was used stays; or what a contender that keeps things keeps."""
        if contender in self._keeping:
            self._kept |= self._existing(find())
            return set()
        deadline = time.monotonic() + SETTLE_S
        while (left := self._existing(find() - self._kept)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def _used(self, events: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
        containers = {
            event["Actor"]["ID"]
            for event in events
            if (event["Type"], event["Action"]) == ("container", "create")
            and event["Actor"]["Attributes"].get(self._label) == self._label_value
        }
        used = {("containers", container) for container in containers}
        for event in events:
            kind, attributes = f"{event['Type']}s", event["Actor"]["Attributes"]
            is_used = event["Action"] in ("mount", "connect") and attributes.get("container") in containers
            if kind in ("volumes", "networks") and is_used and attributes.get("name") not in _SHARED_NETWORKS:
                used.add((kind, event["Actor"]["ID"]))
        return used

    def _existing(self, things: set[tuple[str, str]]) -> set[tuple[str, str]]:
        return {(kind, name) for kind, name in things if self._exists(kind, name)}

    def _exists(self, kind: str, name: str) -> bool:
        try:
            self._engine.call("GET", f"/{kind}/{name}/json" if kind == "containers" else f"/{kind}/{name}")
        except RefusedError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _count(self, contender: str, left: set[tuple[str, str]]) -> None:
        """The most of each kind that a run has left."""
        counts = self.counts.setdefault(contender, {})
        for kind in _FORCE:
            counts[kind] = max(counts.get(kind, 0), sum(k == kind for k, _ in left))

    def describe(self, contender: str) -> str:
        """For a table: "2 volumes", or "nothing"; empty where it never ran."""
        if contender in self._keeping:
            return "kept"
        if contender not in self.counts:
            return ""
        parts = [f"{n} {kind.removesuffix('s')}{'s' * (n > 1)}" for kind, n in self.counts[contender].items() if n]
        return ", ".join(parts) or "nothing"
