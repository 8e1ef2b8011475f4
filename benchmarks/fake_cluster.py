"""The fake cluster of the tests, for benchmarks: its kubeconfig, and what its API server has counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class FakeCluster:
    """A process of its own, which ends with this object."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        tests = str(Path(__file__).parents[1] / "tests")
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))}
        command = [sys.executable, "-m", "kubernetes.fake", str(folder)]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._read() != b"ready":
            raise SystemExit("the fake cluster did not start")

    def order(self, name: str, **facts: str) -> Mapping[str, Any]:
        """The answer to an order, such as `counts`."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"order": name, "facts": facts}).encode() + b"\n")
        self._process.stdin.flush()
        answer: Mapping[str, Any] = json.loads(self._read())
        return answer["answer"] or {}

    def close(self) -> None:
        """End the process; it removes what it has on Docker."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _read(self) -> bytes:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@contextmanager
def opened_fake_cluster() -> Iterator[FakeCluster]:
    """A fake cluster that lasts as long as the block."""
    with tempfile.TemporaryDirectory(prefix="isolate-bench-") as folder:
        cluster = FakeCluster(Path(folder))
        try:
            yield cluster
        finally:
            cluster.close()
