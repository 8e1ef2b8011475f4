"""Ownership: run and owner ids, labels, resource names."""

from __future__ import annotations

import hashlib
import hmac
import json
import re

from msgspec import Struct

from pytest_isolate.model.service import Pairs, ServiceId

LABEL = "pytest-isolate"
LABEL_RUN = f"{LABEL}.run"
LABEL_OWNER = f"{LABEL}.owner"
LABEL_STACK = f"{LABEL}.stack"
LABEL_SERVICE = f"{LABEL}.service"
LABEL_FINGERPRINT = f"{LABEL}.fingerprint"
LABEL_ALTERNATIVES = f"{LABEL}.alternatives"
LABEL_WORKER = f"{LABEL}.worker"
LABEL_INSTANCE = f"{LABEL}.instance"
LABEL_HOLDS = f"{LABEL}.holds"
LABEL_OWNS = f"{LABEL}.owns"
LABEL_REUSE = f"{LABEL}.reuse"
LABEL_KEPT = f"{LABEL}.kept"
LABEL_USER = f"{LABEL}.user"
LABEL_PROJECT = f"{LABEL}.project"
LABEL_SNAPSHOT = f"{LABEL}.snapshot"
LABEL_SNAPSHOT_BYTES = f"{LABEL_SNAPSHOT}-bytes"


class Owner(Struct, frozen=True, kw_only=True):
    """The process that a run belongs to, told apart from all that ever ran: a process id alone is reused."""

    host: str
    boot: str
    pid_namespace: str
    pid: int
    start_time: str

    def encode(self) -> str:
        """A text for a label; `parse_owner` reads it back."""
        return json.dumps({name: getattr(self, name) for name in self.__struct_fields__}, sort_keys=True)


def parse_owner(text: str) -> Owner | None:
    """The owner in a label's text; None where it is not one of ours (then nothing is known about it)."""
    try:
        owner = Owner(**json.loads(text))
    except (ValueError, TypeError):
        return None
    texts = (owner.host, owner.boot, owner.pid_namespace, owner.start_time)
    return owner if type(owner.pid) is int and all(isinstance(t, str) for t in texts) else None


class Run(Struct, frozen=True, kw_only=True):
    """One pytest invocation with all its workers; `worker` is empty outside xdist."""

    run_id: str
    owner: Owner
    secret: bytes
    worker: str = ""
    extra_labels: Pairs = ()

    def labels(self) -> dict[str, str]:
        """The labels that every object of this run (or, in a worker, of this worker) carries."""
        labels = {LABEL_RUN: self.run_id, LABEL_OWNER: self.owner.encode(), **dict(self.extra_labels)}
        return labels | ({LABEL_WORKER: self.worker} if self.worker else {})

    def container_labels(
        self, service: ServiceId, fingerprint: str, instance: str, alternatives: str = ""
    ) -> dict[str, str]:
        """The labels of a container; `instance` finds it again when the process that made it has died half-way."""
        labels = self.labels() | ({LABEL_ALTERNATIVES: alternatives} if alternatives else {})
        return labels | {
            LABEL_STACK: str(service.stack),
            LABEL_SERVICE: service.name,
            LABEL_FINGERPRINT: fingerprint,
            LABEL_INSTANCE: instance,
        }

    def own_labels(self) -> dict[str, str]:
        """The labels that select the objects which this process made (a worker's only, not its siblings')."""
        return {LABEL_RUN: self.run_id} | ({LABEL_WORKER: self.worker} if self.worker else {})

    def resource_name(self, *parts: str) -> str:
        """A name that no other run uses, readable in a list of containers."""
        words = [p for p in (self.run_id, self.worker, *parts) if p]
        return "-".join(["isolate", *(re.sub(r"[^A-Za-z0-9_.-]+", "-", w).strip("-.") for w in words)])

    def password(self, *parts: str) -> str:
        """A random password, the same for the same parts within this run, and never stored."""
        digest = hmac.new(self.secret, "\0".join(parts).encode(), hashlib.sha256)
        return digest.hexdigest()[:32]
