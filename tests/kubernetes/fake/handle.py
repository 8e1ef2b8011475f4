"""A fake cluster as tests see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import docker

from kubernetes.fake.node.kubelet import remove_leftovers

_TESTS = Path(__file__).parents[2]


class FakeCluster:
    """Started by its constructor; `order` calls a method of cluster.Cluster in its process."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._lock = threading.Lock()
        path = os.pathsep.join(filter(None, (str(_TESTS), os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kubernetes.fake", str(folder), *options],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if self._read() != "ready":
            raise RuntimeError("the fake cluster did not start; what it wrote tells why")

    def _read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def order(self, name: str, /, **facts: Any) -> Any:
        assert self.process.stdin
        with self._lock:
            self.process.stdin.write(json.dumps({"order": name, "facts": facts}) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self._read())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["answer"]

    def freeze(self) -> None:
        """Let nothing of the API server answer, as when the network is lost; Pods and Services go on."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it; safe to repeat. Where its process was killed, what is left of it on Docker is removed here."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(120)
        self.process.stdout.close()
        client = docker.APIClient()
        remove_leftovers(client, (self.folder / "cluster-id").read_text())
        client.close()
