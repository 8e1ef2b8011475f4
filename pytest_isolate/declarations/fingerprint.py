"""The hash of a declaration: equal where an instance can be shared, and be used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.declarations.keys import KEYS
from pytest_isolate.model.service import ServiceSpec

# Where it is written down does not change what runs, nor does the module whose values are those of other keys.
_NOT_COVERED = {"location", "module", *(key.field or key.name for key in KEYS.values() if not key.in_fingerprint)}


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
        "spec": {name: _plain(getattr(known, name)) for name in known.__struct_fields__ if name not in _NOT_COVERED},
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
