"""What happened to containers of the runs under test, as the engine tells it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from waiting import wait_for

from pytest_isolate.model.identity import LABEL_OWNER, LABEL_RUN, LABEL_SERVICE


@dataclass(frozen=True)
class Happened:
    """One event: `what` is create, start, die or destroy."""

    what: str
    service: str
    container_id: str
    name: str


class Events:
    """Collects from the moment it is made; `pids` are the owners whose containers count, looked at when it is asked."""

    def __init__(self, client: Any, pids: Set[int]) -> None:
        self._pids = pids
        self._all: list[tuple[int, Happened]] = []
        self._stream = client.events(filters={"type": "container", "label": [LABEL_RUN]}, decode=True)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for event in self._stream:
            labels = event["Actor"]["Attributes"]
            pid = json.loads(labels.get(LABEL_OWNER, "{}")).get("pid", 0)
            happened = Happened(event["Action"], labels.get(LABEL_SERVICE, ""), event["Actor"]["ID"], labels["name"])
            self._all.append((pid, happened))

    def of(self, *kinds: str) -> list[Happened]:
        """The events of these kinds so far, in order."""
        return [event for pid, event in list(self._all) if pid in self._pids and event.what in kinds]

    @property
    def created(self) -> list[str]:
        """The service of each container that was made."""
        return sorted(event.service for event in self.of("create"))

    def wait_for(self, question: Callable[[], bool]) -> None:
        wait_for(question, show=lambda: self.of("create", "start", "die", "destroy"))

    def settle(self) -> None:
        """Wait until every container that was made is gone as well: then all that happened before has been told."""
        self.wait_for(lambda: len(self.of("create")) == len({e.container_id for e in self.of("destroy")}))

    @property
    def most_at_once(self) -> int:
        """The most containers that existed at the same time."""
        there, most = 0, 0
        for event in self.of("create", "destroy"):
            there += 1 if event.what == "create" else -1
            most = max(most, there)
        return most

    def close(self) -> None:
        self._stream.close()
        self._thread.join(5)
