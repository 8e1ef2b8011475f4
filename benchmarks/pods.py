"""Stacks of three services on a cluster: what many Pods cost pytest's machine, and the API server.

Only on the fake cluster of the tests, because its API server counts. Its Pods are containers of this machine, so that
the seconds are those of Docker; the requests, connections, threads and bytes are the plugin's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.environments import copy_project, ensure_venv_with_plugin
from benchmarks.fake_cluster import FakeCluster, opened_fake_cluster
from benchmarks.load import LoadMeter
from benchmarks.results import build_table

_IMAGE = "debian:bookworm-slim"
_STACKS = (10, 30, 100)
_SAMPLE_EVERY_S = 0.25
_RELAY = "pytest_isolate.engine.kubernetes.relay"


@dataclass(slots=True)
class Peak:
    """The most that processes of one kind had at once."""

    megabytes: float = 0.0
    threads: int = 0
    descriptors: int = 0

    def take(self, process: psutil.Process) -> None:
        with process.oneshot():
            self.megabytes = max(self.megabytes, process.memory_info().rss / 1e6)
            self.threads = max(self.threads, process.num_threads())
            self.descriptors = max(self.descriptors, process.num_fds())


@dataclass(slots=True)
class Run:
    """What one run with a number of stacks took."""

    stacks: int
    seconds: float = 0.0
    pytest: Peak = field(default_factory=Peak)
    relay: Peak = field(default_factory=Peak)
    requests: Mapping[str, int] = field(default_factory=dict)
    most_connections: int = 0


def run(rounds: int, load: LoadMeter) -> str:
    """The section for RESULTS.md; one round is enough, as what is counted hardly differs."""
    found: list[Run] = []
    with opened_fake_cluster() as cluster:
        cluster.order("set_capacity", pods="1000", cpu="1000", memory="1000Gi")  # a node has room for 110 Pods
        for stacks in _STACKS * rounds:
            load.sample()
            found.append(_measure(cluster, stacks))
    return "\n\n".join(
        [
            "Stacks of three services, one of which needs the others, and one test that asks each of them, outside "
            "of the fake cluster of the tests, whose Pods are containers of this machine: the seconds are Docker's.",
            _tell_runs(found),
            "Requests for each Pod, by verb and kind (connections are new ones):",
            _tell_requests(found),
        ]
    )


def _measure(cluster: FakeCluster, stacks: int) -> Run:
    measured = Run(stacks)
    folder = copy_project("pods")
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    env = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "WEB_IMAGE": _IMAGE,
        "STACKS": str(stacks),
        "XDG_RUNTIME_DIR": str(state),
        "XDG_CACHE_HOME": str(state),
    }
    commands = ensure_venv_with_plugin("plugin", "pytest")
    cluster.order("reset_counts")
    began = time.perf_counter()
    with subprocess.Popen(
        [
            *(str(commands / "pytest"), "-q", "--isolate", "--isolate-engine=kubernetes"),
            f"--isolate-max-containers={3 * stacks}",  # 200 by default
        ],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        watcher = threading.Thread(target=_watch, args=(process, state, measured))
        watcher.start()
        told = process.stdout.read()
        watcher.join()
    measured.seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{stacks} stacks did not run:\n{told[-3000:]}")
    counted = cluster.order("counts")
    measured.requests = counted["requests"]
    measured.most_connections = counted["most_connections"]
    return measured


def _watch(process: subprocess.Popen[str], state: Path, measured: Run) -> None:
    ours = psutil.Process(process.pid)
    while process.poll() is None:
        for one in psutil.process_iter():
            with suppress(psutil.Error):  # it has just ended
                if one == ours:
                    measured.pytest.take(one)
                elif _RELAY in (words := one.cmdline()) and any(word.startswith(str(state)) for word in words):
                    measured.relay.take(one)
        time.sleep(_SAMPLE_EVERY_S)


def _tell_runs(found: Sequence[Run]) -> str:
    rows = [
        [
            str(3 * one.stacks),
            f"{one.seconds:.0f}",
            f"{one.pytest.megabytes:.0f}",
            str(one.pytest.threads),
            str(one.pytest.descriptors),
            f"{one.relay.megabytes:.0f}",
            str(one.relay.threads),
            str(one.relay.descriptors),
            str(one.most_connections),
            str(sum(count for name, count in one.requests.items() if name != "connections")),
        ]
        for one in found
    ]
    head = ["Pods", "s", "pytest: MB", "threads", "descriptors", "relay: MB", "threads", "descriptors"]
    return build_table([*head, "connections at once", "requests"], rows)


def _tell_requests(found: Sequence[Run]) -> str:
    kinds: Counter[str] = Counter()
    for one in found:
        kinds.update(one.requests)
    rows = [
        [kind, *(f"{one.requests.get(kind, 0) / (3 * one.stacks):.2f}" for one in found)]
        for kind, _ in kinds.most_common()
    ]
    return build_table(["", *(f"{3 * one.stacks} Pods" for one in found)], rows)
