"""Who owns what: run and owner ids, labels, resource names, fingerprints."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.model.service import Pairs, ServiceId, ServiceSpec

LABEL = "pytest-isolate"
LABEL_RUN = f"{LABEL}.run"
LABEL_OWNER = f"{LABEL}.owner"
LABEL_STACK = f"{LABEL}.stack"
LABEL_SERVICE = f"{LABEL}.service"
LABEL_FINGERPRINT = f"{LABEL}.fingerprint"
LABEL_WORKER = f"{LABEL}.worker"
LABEL_INSTANCE = f"{LABEL}.instance"
LABEL_HOLDS = f"{LABEL}.holds"
LABEL_REUSE = f"{LABEL}.reuse"
LABEL_KEPT = f"{LABEL}.kept"
LABEL_USER = f"{LABEL}.user"
LABEL_PROJECT = f"{LABEL}.project"
LABEL_SNAPSHOT = f"{LABEL}.snapshot"
LABEL_SNAPSHOT_BYTES = f"{LABEL_SNAPSHOT}-bytes"

# What does not change what runs in the container: where it is written down, how long we wait for it, how its image is
# made and fetched (the image's own id stands for that), which module its other keys are from, how long it lives, and
# how it is cleaned between tests.
_NOT_IN_FINGERPRINT = frozenset({"location", "timeout_s", "build", "pull", "reset", "module", "scope", "share"})


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

    def container_labels(self, service: ServiceId, fingerprint: str, instance: str) -> dict[str, str]:
        """The labels of a container; `instance` finds it again when whoever made it has died half-way."""
        return self.labels() | {
            LABEL_STACK: str(service.stack),
            LABEL_SERVICE: service.name,
            LABEL_FINGERPRINT: fingerprint,
            LABEL_INSTANCE: instance,
        }

    def own_labels(self) -> dict[str, str]:
        """The labels that select the objects which this process made (a worker's only, not its siblings')."""
        return {LABEL_RUN: self.run_id} | ({LABEL_WORKER: self.worker} if self.worker else {})

    def resource_name(self, *parts: str, order: str = "") -> str:
        """A name that no other run uses, readable in `docker ps`; names sort by `order` first."""
        words = [p for p in (order, self.run_id, self.worker, *parts) if p]
        return "-".join(["isolate", *(re.sub(r"[^A-Za-z0-9_.-]+", "-", w).strip("-.") for w in words)])

    def password(self, *parts: str) -> str:
        """A random password, the same for the same parts within this run, and never stored."""
        digest = hmac.new(self.secret, "\0".join(parts).encode(), hashlib.sha256)
        return digest.hexdigest()[:32]


def fingerprint(
    spec: ServiceSpec,
    *,
    stack: str,
    image_id: str = "",
    dependencies: Mapping[str, str] | None = None,
    contents: Mapping[str, str] | None = None,
) -> str:
    """A hash that is equal exactly when two declarations lead to the same container.

    Covers the declaration, its stack, the image's id, the fingerprints of what it depends on, by alias, and the digests
    of the files that are copied in, by their path inside (which then stand for their path on the host); leaves out what
    is known only at the start (ports, generated passwords).
    """
    files = (replace(f, source=contents[f.target]) if contents and f.source else f for f in spec.files)
    known = replace(spec, files=tuple(files))
    facts = {
        "spec": {
            name: _plain(getattr(known, name)) for name in known.__struct_fields__ if name not in _NOT_IN_FINGERPRINT
        },
        "build": _plain(spec.build) if spec.build and not image_id else None,
        "stack": stack,
        "image": image_id,
        "dependencies": dict(dependencies or {}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _plain(value: object) -> object:
    """A form that json writes the same way each time; types are told apart."""
    if isinstance(value, Struct):
        return {"type": type(value).__name__, **{n: _plain(getattr(value, n)) for n in value.__struct_fields__}}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Enum):
        return {"enum": str(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    return value
