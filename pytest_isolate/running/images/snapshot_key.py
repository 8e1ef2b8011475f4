"""Snapshots' keys: what a service's first start depends on, and when its result may be used again. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from msgspec.structs import replace

from pytest_isolate.declarations.keys import KEYS, fingerprint, leave_out
from pytest_isolate.declarations.placeholders import SELF, parse_references
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.service import ServiceSpec, is_host_path, split_mode

# What a service can say of itself that is the same in every run and under every name.
_LASTING = frozenset({"port", "user", "password", "database"})

_NOT_IN_KEY = tuple(key for key in KEYS.values() if not key.in_snapshot_key)


def can_be_snapshotted(spec: ServiceSpec) -> bool:
    """True where its first start depends on nothing but its declaration, its image and its files.

    Not where it needs other services, or has its data in a volume, which it may share; nor where it is told its name or
    its address of this run. And not with a password that the user wrote down: that one must not get into an image.
    """
    texts = [*(text for _, text in spec.env), *(spec.command or ()), *(spec.entrypoint or ())]
    texts += [file.text for file in spec.files if file.text is not None]
    references = [reference for text in texts for reference in parse_references(text)]
    return (
        bool(spec.snapshot)
        and not spec.needs
        and all(is_host_path(name) and not _overlaps(target, spec.snapshot) for name, target in spec.volumes)
        and (spec.password is None or spec.password is Secret.RANDOM)
        and all(r.service == SELF and r.attribute in _LASTING for r in references)
    )


def _overlaps(target: str, folders: Iterable[str]) -> bool:
    place = PurePosixPath(split_mode(target)[0])
    return any(place.is_relative_to(folder) or PurePosixPath(folder).is_relative_to(place) for folder in folders)


def snapshot_digest(spec: ServiceSpec, stack: str, image_id: str, contents: Mapping[str, str], secret: bytes) -> str:
    """Digest that names a snapshot: it changes with everything that the first start depends on.

    The service's own name, its limits and how it is asked for readiness do not count; the stack's name does, so that
    two stacks never have one password. `secret` stands for the passwords that are derived from it.
    """
    # 0 is what stood for the limit of processes before there was a table of keys: what is saved stays valid.
    known = replace(leave_out(spec, _NOT_IN_KEY), name="", pids=0)
    facts = [fingerprint(known, stack=stack, image_id=image_id, contents=contents), hashlib.sha256(secret).hexdigest()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
