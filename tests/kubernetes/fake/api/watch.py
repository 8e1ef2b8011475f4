"""Watches: the changes of one kind, a while after they happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kubernetes.fake.api import status
from kubernetes.fake.api.kinds import Kind
from kubernetes.fake.api.rest import Rest
from kubernetes.fake.api.selectors import Matches, parse_selectors
from kubernetes.fake.api.store import Change, Object, Store

LAG_S = 1.2
"""A change is told so late. On a real node, this is the median for deaths, with the time that the kubelet takes."""
_LONGEST_S = 1800.0

Event = dict[str, Any]


def watch(
    rest: Rest,
    kind: Kind,
    namespace: str,
    query: Mapping[str, str],
    has_ended: Callable[[], bool],
    lag_s: float = LAG_S,
) -> Iterator[Event | None]:
    """Events as they come; None now and then, for the caller to see if there still is a client."""
    matches = parse_selectors(query.get("labelSelector", ""), query.get("fieldSelector", ""))
    deadline = time.monotonic() + float(query.get("timeoutSeconds") or _LONGEST_S)
    asked = query.get("resourceVersion", "")
    store = rest.store
    with store.changed:
        seen = int(asked) if asked not in ("", "0") else store.version
        now = rest.select(kind, namespace, query) if asked in ("", "0") else []

    def is_over() -> bool:
        return time.monotonic() >= deadline or has_ended()

    return _follow(
        store, lambda one: _as_event(one, matches) if _is_of(one, kind, namespace) else None, now, seen, is_over, lag_s
    )


def _is_of(change: Change, kind: Kind, namespace: str) -> bool:
    return change.plural == kind.plural and namespace in ("", change.namespace)


def _follow(
    store: Store,
    as_event: Callable[[Change], Event | None],
    now: list[Object],
    seen: int,
    is_over: Callable[[], bool],
    lag_s: float,
) -> Iterator[Event | None]:
    for found in now:
        yield {"type": "ADDED", "object": found}
    while not is_over():
        with store.changed:
            if seen < store.oldest:
                yield {"type": "ERROR", "object": status.expired(seen, store.oldest).body}
                return
            changes, seen = _next_changes(store.log, seen, lag_s)
            if not changes:
                store.changed.wait(min(0.1, lag_s) or 0.1)
        for change in changes:
            if event := as_event(change):
                yield event
        yield None


def _next_changes(log: list[Change], seen: int, lag_s: float) -> tuple[list[Change], int]:
    latest = time.monotonic() - lag_s
    start = len(log)
    while start and log[start - 1].version > seen:
        start -= 1
    found = []
    for change in log[start:]:
        if change.at > latest:
            break
        found.append(change)
    return found, found[-1].version if found else seen


def _as_event(change: Change, matches: Matches) -> Event | None:
    """The event that a change is to a selector: what is selected no longer is deleted."""
    was = change.before is not None and matches(change.before)
    if change.after is None:
        return {"type": "DELETED", "object": change.before} if was else None
    if matches(change.after):
        return {"type": "MODIFIED" if was else "ADDED", "object": change.after}
    return {"type": "DELETED", "object": _at_version(change)} if was else None


def _at_version(change: Change) -> Object:
    assert change.before is not None
    meta = {**change.before["metadata"], "resourceVersion": str(change.version)}
    return {**change.before, "metadata": meta}
