"""What is on the engine, as Docker's own library sees it, and which processes a run has."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from pytest_isolate.model.identity import LABEL_OWNER, LABEL_RUN, Owner, parse_owner
from pytest_isolate.sharing.owners import read_owner, read_start_time


@dataclass(frozen=True)
class Counts:
    """How much of a run is on the engine."""

    containers: int = 0
    volumes: int = 0
    networks: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.containers + other.containers, self.volumes + other.volumes, self.networks + other.networks)

    def __bool__(self) -> bool:
        return bool(self.containers or self.volumes or self.networks)

    def __str__(self) -> str:
        return f"{self.containers} containers, {self.volumes} volumes, {self.networks} networks"


class Observer:
    """Counts what carries the owner label of a process."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._here = read_owner()

    def count(self, pid: int, start_time: str) -> Counts:
        """What a run's controller owns."""
        only = {"label": [LABEL_RUN]}
        lists = (
            self._client.containers(all=True, filters=only),
            self._client.volumes(filters=only)["Volumes"] or (),
            self._client.networks(filters=only),
        )
        return Counts(*(sum(self._owns(pid, start_time, item["Labels"] or {}) for item in found) for found in lists))

    def _owns(self, pid: int, start_time: str, labels: Mapping[str, str]) -> bool:
        owner = parse_owner(labels.get(LABEL_OWNER, ""))
        wanted = Owner(
            host=self._here.host,
            boot=self._here.boot,
            pid_namespace=self._here.pid_namespace,
            pid=pid,
            start_time=start_time,
        )
        return owner == wanted


@dataclass(frozen=True)
class Processes:
    """The processes of a run at one moment. A guardian that is only just being started has several."""

    guardian: tuple[int, ...]
    workers: tuple[int, ...]


def find_processes(controller: int) -> Processes:
    """The guardian and the workers of a controller."""
    guardian, workers = [], []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if "pytest_isolate.cli.guardian" in words and str(controller) in words:
                guardian.append(process.pid)
            elif any("exec(eval(sys.stdin.readline()))" in word for word in words) and process.ppid() == controller:
                workers.append(process.pid)
        except psutil.Error:
            continue
    return Processes(tuple(guardian), tuple(workers))


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    return read_start_time(pid) is not None


def kill(pid: int) -> None:
    """SIGKILL; a process that is gone is fine."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def wait_until(question: Callable[[], bool], timeout_s: float) -> float | None:
    """After how many seconds a question is answered with yes; None when it is not in time."""
    began = time.monotonic()
    for passed in _ticks(began, timeout_s):
        if question():
            return passed
    return None


def _ticks(began: float, timeout_s: float) -> Iterator[float]:
    while (passed := time.monotonic() - began) < timeout_s:
        yield passed
        time.sleep(0.02)
