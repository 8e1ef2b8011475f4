"""Tells pods the names of their neighbours: each program starts with a table of hosts, and is given another one later.

One table is written at a time, by what is so by then: an older one would take away the names of a newer one. Another
worker may start containers of the same stack at the same moment. So a process that has written a table looks once more,
and writes again where there is a neighbour by now that the table lacks: what comes last is whole.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pytest_isolate.engine.kubernetes.objects.pod_hosts import build_hosts, pod_address, read_networks, select_members
from pytest_isolate.engine.kubernetes.pods import Pods, is_held
from pytest_isolate.errors import EngineError, ObjectNotFound

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.first_control import FirstControl

_NOT_STARTED, _STARTING = 0, -1
# Neighbours come one after the other: no process writes a table as often as that before it is whole.
_MOST_WRITES = 20


class Neighbours:
    """The tables of hosts of the pods of a namespace, as far as this process has to do with them."""

    def __init__(self, pods: Pods, control: FirstControl) -> None:
        self._pods = pods
        self._control = control
        self._tables: dict[str, str] = {}
        self._starts: dict[str, int] = {}  # of programs, as they were counted last
        self._writing: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def created(self, pod: str) -> None:
        """Note that this process has made a pod: until its start it needs no names."""
        with self._lock:
            self._starts[pod] = _NOT_STARTED

    def forget(self, pod: str) -> None:
        """Note that a pod is gone."""
        with self._lock:
            for known in (self._starts, self._tables, self._writing):
                known.pop(pod, None)

    def start(self, pod: Mapping[str, Any]) -> bool:
        """Start the program of a pod with a table of hosts; False where it had been started before, and runs."""
        name = pod["metadata"]["name"]
        with self._lock:
            before = self._starts.get(name)
            if before == _NOT_STARTED:
                self._starts[name] = _STARTING  # from here on those that come up tell it their names
        try:
            with self._telling(name):
                table = build_hosts(pod, self._members(read_networks(pod)))
                starts = self._control.start(name, table).starts
                self._tables[name] = table
                self._write_table(pod)
        except EngineError:
            with self._lock:
                if before == _NOT_STARTED:
                    self._starts[name] = _NOT_STARTED
            raise
        with self._lock:
            self._starts[name] = starts
        return before != starts

    def tell(self, networks: Iterable[str], *, left: Sequence[str] = (), but: str = "") -> None:
        """Give other tables to what runs on these networks, and to pods that have left one."""
        pods = self._members(networks)
        for name in left:
            with suppress(ObjectNotFound):
                pods.append(self._pods.get(name, "a container could not be looked at"))
        for pod in pods:
            name = pod["metadata"]["name"]
            with self._lock:
                waits = self._starts.get(name) == _NOT_STARTED
            if name != but and not waits and pod_address(pod) and is_held(pod):
                with self._telling(name):
                    self._write_table(pod)

    def _write_table(self, pod: Mapping[str, Any]) -> None:
        """Write the table of a pod until it is what we have written last."""
        name = pod["metadata"]["name"]
        for _ in range(_MOST_WRITES):
            members = self._members(read_networks(pod))
            now = next((member for member in members if member["metadata"]["name"] == name), pod)
            table = build_hosts(now, members)
            if self._tables.get(name) == table:
                return
            try:
                self._control.write_hosts(name, table)
            except EngineError:
                # One that has ended needs no names; with it the start of another must not fail.
                if self._still_runs(name):
                    raise
            self._tables[name] = table

    def _still_runs(self, pod: str) -> bool:
        try:
            return self._pods.inspect(pod).is_running
        except EngineError:
            return False

    def _members(self, networks: Iterable[str]) -> list[Mapping[str, Any]]:
        """The pods that are on any of these networks."""
        found: dict[str, Mapping[str, Any]] = {}
        for network in networks:
            found |= {pod["metadata"]["name"]: pod for pod in self._pods.list_pods(select_members(network))}
        return list(found.values())

    @contextmanager
    def _telling(self, pod: str) -> Iterator[None]:
        with self._lock:
            lock = self._writing.setdefault(pod, threading.Lock())
        with lock:
            yield
