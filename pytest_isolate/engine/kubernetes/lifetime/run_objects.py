"""Objects that a run has once: the one that owns all others, and the Secret with the first process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_isolate.engine.kubernetes.api_errors import ApiError
from pytest_isolate.engine.kubernetes.lifetime.renewal import Renewal, moment_now
from pytest_isolate.engine.kubernetes.objects.manifests import build_program, build_run, build_secret, owner_labels
from pytest_isolate.engine.kubernetes.objects.object_labels import RUN, describe_object, digest
from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import LABEL_REUSE, LABEL_RUN

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient

_BINARIES = Path(__file__).parents[1] / "first_process"


def read_binary(machine: str) -> bytes:
    """The first process for a kind of machine."""
    try:
        return (_BINARIES / f"first-{machine}").read_bytes()
    except FileNotFoundError as error:
        known = ", ".join(sorted(path.name.removeprefix("first-") for path in _BINARIES.glob("first-*")))
        raise EngineError(
            f"pods cannot be held on nodes of the kind {machine}",
            found=f"there is a first process for {known}",
            do="name such nodes as kubernetes.io/arch in nodeSelector of --isolate-pod-template",
        ) from error


class RunObjects:
    """Makes the objects of each run where they are first needed. All processes of a run come to the same ones.

    `job` is a reference to the pod that they run in, where they do. What is kept for later runs is not its own.
    """

    def __init__(self, client: ClusterClient, job: Mapping[str, str] | None = None) -> None:
        self._client = client
        self._job = job
        self._renewal = Renewal(client)
        self._owners: dict[str, Mapping[str, str]] = {}
        self._programs: set[str] = set()
        self._making = threading.Lock()

    def close(self) -> None:
        """Renew the owners of runs no longer."""
        self._renewal.close()

    def owner(self, labels: Mapping[str, str]) -> Mapping[str, str] | None:
        """The owner of the objects of a run; None for an object that is of no run."""
        if LABEL_RUN not in labels:
            return None
        name = f"isolate-run-{digest(labels[LABEL_RUN])}"
        with self._making:
            if name not in self._owners:
                made = self._ensure_owner(name, labels)
                facts = {key: made[key] for key in ("apiVersion", "kind")}
                self._owners[name] = {**facts, "name": name, "uid": made["metadata"]["uid"]}
            return self._owners[name]

    def program_secret(self, labels: Mapping[str, str], machine: str) -> str:
        """The name of the Secret that holds the first process for a kind of machine."""
        owner = self.owner(labels)
        content = read_binary(machine)
        # Another version of this package in the same run, as in a worker elsewhere, has another one.
        name = f"isolate-first-{digest(labels.get(LABEL_RUN, ''))}-{machine}-{digest(content.hex(), 6)}"
        with self._making:
            if name not in self._programs:
                path = f"/api/v1/namespaces/{self._client.namespace}/secrets"
                self._ensure(path, build_program(name, content, labels, owner))
                self._programs.add(name)
        return name

    def _ensure_owner(self, name: str, labels: Mapping[str, str]) -> Mapping[str, Any]:
        job = None if LABEL_REUSE in labels else self._job
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self._client.namespace}/leases"
        try:
            lease = build_run(name, labels, moment_now(), job)
            made = self._ensure(leases, lease)
            if LABEL_REUSE not in labels:
                self._renewal.add(f"{leases}/{name}")
            return {**made, "apiVersion": lease["apiVersion"], "kind": lease["kind"]}
        except ApiError as error:
            if error.status != 403:
                raise
        # Where Leases are not allowed, any object will do to own others.
        metadata = describe_object(RUN, name, owner_labels(labels))
        secret = build_secret(RUN, name, {}, metadata=metadata, owner=job)
        path = f"/api/v1/namespaces/{self._client.namespace}/secrets"
        return {**self._ensure(path, secret), "apiVersion": "v1", "kind": "Secret"}

    def _ensure(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._client.create(path, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        return self._client.get(f"{path}/{body['metadata']['name']}")
