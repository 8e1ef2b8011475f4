"""Removal of what is owned by what is gone, and of what is in namespaces that go."""

from __future__ import annotations

import threading

from kubernetes.fake.api.kinds import BY_NAME, BY_PLURAL
from kubernetes.fake.api.rest import Rest
from kubernetes.fake.api.store import Object

_PAUSE_S = 0.3
_BETWEEN_S = 0.05
"""The real collector sends no more than about 20 requests each second."""


class Collector:
    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE_S):
            for plural, found in self._find_doomed():
                if self._ended.wait(_BETWEEN_S):
                    return
                self._rest.delete_gracefully(BY_PLURAL[plural], found)
            self._end_namespaces()

    def _find_doomed(self) -> list[tuple[str, Object]]:
        everything = self._rest.store.all_objects()
        there = {self._identity(plural, found) for plural, found in everything}
        going = {found["metadata"]["name"] for plural, found in everything if _is_going(plural, found)}
        doomed = []
        for plural, found in everything:
            if "deletionTimestamp" in found["metadata"]:
                continue
            namespace = found["metadata"].get("namespace", "")
            owners = found["metadata"].get("ownerReferences") or []
            names = [(self._namespace_of(one, namespace), one["kind"], one["name"], one["uid"]) for one in owners]
            if namespace in going or (names and not any(name in there for name in names)):
                doomed.append((plural, found))
        return doomed

    def _identity(self, plural: str, found: Object) -> tuple[str, str, str, str]:
        meta = found["metadata"]
        return meta.get("namespace", ""), BY_PLURAL[plural].name, meta["name"], meta["uid"]

    def _namespace_of(self, owner: Object, namespace: str) -> str:
        """An owner is of the same namespace, or of none."""
        kind = BY_NAME.get(owner["kind"])
        return namespace if kind is None or kind.is_namespaced else ""

    def _end_namespaces(self) -> None:
        everything = self._rest.store.all_objects()
        full = {found["metadata"].get("namespace") for _, found in everything}
        for plural, found in everything:
            if _is_going(plural, found) and found["metadata"]["name"] not in full:
                self._rest.store.remove(plural, found)


def _is_going(plural: str, found: Object) -> bool:
    return plural == "namespaces" and "deletionTimestamp" in found["metadata"]
