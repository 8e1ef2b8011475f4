"""Faults that tests ask for, and counters of requests."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from kubernetes.fake.api import status


@dataclass
class Fault:
    """An answer in place of the right one, for some requests to come. An empty verb or resource stands for all.

    With code 0 the connection is cut in place of an answer: before the request is carried out or, with `is_done`,
    after.
    """

    code: int
    is_done: bool = False
    verb: str = ""
    resource: str = ""
    times: int = 1
    retry_after_s: int = 1


@dataclass
class Faults:
    """`resource` is written pods, pods/exec, leases and so on."""

    pending: list[Fault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    open_connections: int = 0
    most_connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, verb: str, resource: str) -> None:
        with self._lock:
            self.counts[f"{verb} {resource}"] += 1

    def count_connection(self, by: int) -> None:
        with self._lock:
            self.counts["connections"] += max(by, 0)
            self.open_connections += by
            self.most_connections = max(self.most_connections, self.open_connections)

    def strike(self, verb: str, resource: str) -> bool:
        """Raise the next fault that is meant for such a request; return True where its answer is to be lost."""
        with self._lock:
            fault = next((one for one in self.pending if _fits(one, verb, resource)), None)
            if fault is None:
                return False
            fault.times -= 1
            if not fault.times:
                self.pending.remove(fault)
        if fault.code == 0 and fault.is_done:
            return True
        if fault.code == 0:
            raise ConnectionResetError
        if fault.code == 429:
            raise status.too_many_requests(fault.retry_after_s)
        if fault.code == 410:
            raise status.ApiError(410, "Expired", "The resourceVersion for the provided watch is too old.")
        if fault.code == 503:
            raise status.ApiError(503, "ServiceUnavailable", "apiserver is shutting down")
        raise status.ApiError(
            fault.code, "InternalError", "an error on the server has prevented the request from succeeding"
        )


def _fits(fault: Fault, verb: str, resource: str) -> bool:
    return fault.verb in ("", verb) and fault.resource in ("", resource)
