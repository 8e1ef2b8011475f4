"""The objects of the cluster, and the log of their changes."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubernetes.fake.api import status
from kubernetes.fake.api.kinds import BY_PLURAL

Object = dict[str, Any]
MOST_CHANGES = 20_000
"""The log is cut to half of this when it is longer: a watch from before is told to list anew, as after a compaction."""


@dataclass(frozen=True, slots=True)
class Change:
    """An object became another one. Added: there was none before; deleted: there is none after."""

    version: int
    plural: str
    namespace: str
    before: Object | None
    after: Object | None
    at: float


def timestamp(seconds: float | None = None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() if seconds is None else seconds))


class Store:
    """Objects are never changed in place: what is read may be kept."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 1000
        self.oldest = 1000
        self.log: list[Change] = []
        self._objects: dict[tuple[str, str, str], Object] = {}

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        return self._objects.get((plural, namespace, name))

    def get(self, plural: str, namespace: str, name: str) -> Object:
        found = self.find(plural, namespace, name)
        if found is None:
            raise status.not_found(BY_PLURAL[plural].resource, name)
        return found

    def find_all(self, plural: str, namespace: str = "") -> list[Object]:
        """Those of a namespace, or of all, in the order of their names."""
        with self.changed:
            keys = sorted(key for key in self._objects if key[0] == plural and namespace in ("", key[1]))
            return [self._objects[key] for key in keys]

    def all_objects(self) -> list[tuple[str, Object]]:
        with self.changed:
            return [(key[0], found) for key, found in self._objects.items()]

    def create(self, plural: str, body: Object) -> Object:
        """Add an object, with what the server writes into its metadata."""
        with self.changed:
            body = copy.deepcopy(body)
            meta = body["metadata"]
            key = (plural, meta.get("namespace", ""), meta["name"])
            old = self._objects.get(key)
            if old is not None:
                is_being_deleted = "deletionTimestamp" in old["metadata"]
                resource = BY_PLURAL[plural].resource
                raise status.already_exists(resource, meta["name"], is_being_deleted=is_being_deleted)
            meta["uid"], meta["creationTimestamp"] = str(uuid.uuid4()), timestamp()
            return self._put(key, None, body)

    def update(self, plural: str, namespace: str, name: str, change: Callable[[Object], Object | None]) -> Object:
        """Change an object by a function that is given a copy, and may return another object."""
        with self.changed:
            old = self.get(plural, namespace, name)
            draft = copy.deepcopy(old)
            new = change(draft) or draft
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            return old if new == old else self._put((plural, namespace, name), old, new)

    def update_if_there(self, plural: str, found: Object, change: Callable[[Object], Object | None]) -> Object | None:
        """Change an object unless it is gone, or another one has its name by now."""
        meta = found["metadata"]
        with self.changed:
            now = self.find(plural, meta.get("namespace", ""), meta["name"])
            if now is None or now["metadata"]["uid"] != meta["uid"]:
                return None
            return self.update(plural, meta.get("namespace", ""), meta["name"], change)

    def remove(self, plural: str, found: Object) -> None:
        meta = found["metadata"]
        with self.changed:
            key = (plural, meta.get("namespace", ""), meta["name"])
            now = self._objects.get(key)
            if now is not None and now["metadata"]["uid"] == meta["uid"]:
                del self._objects[key]
                last = copy.deepcopy(now)
                self._record(key, last, None)

    def forget_changes(self) -> None:
        """Let every watch from before this moment fail."""
        with self.changed:
            self.version += 1
            self.oldest, self.log = self.version, []
            self.changed.notify_all()

    def _put(self, key: tuple[str, str, str], old: Object | None, new: Object) -> Object:
        self._objects[key] = new
        self._record(key, old, new)
        return new

    def _record(self, key: tuple[str, str, str], before: Object | None, after: Object | None) -> None:
        self.version += 1
        (after or before or {})["metadata"]["resourceVersion"] = str(self.version)
        self.log.append(Change(self.version, key[0], key[1], before, after, time.monotonic()))
        if len(self.log) > MOST_CHANGES:
            self.log = self.log[MOST_CHANGES // 2 :]
            self.oldest = self.log[0].version
        self.changed.notify_all()
