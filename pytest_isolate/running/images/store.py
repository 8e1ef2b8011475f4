"""The folder of `pytest-isolate images save`: files by their content, and an index that says which images they make up.

The index is written last, and replaced as a whole: a save that was killed leaves what was there before.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from msgspec import Struct, to_builtins

from pytest_isolate.engine.image_archive import Blob, Digest, Parts
from pytest_isolate.errors import IsolateError, build_message

INDEX = "index.json"
_VERSION = 1
_OURS = re.compile(r"[0-9a-f]{64}|\.new-\w+")


class BuildOrigin(Struct, frozen=True, kw_only=True):
    """What an image was built from, wherever that lay, and the ids of its base images by name."""

    sources: str
    bases: Mapping[str, str]


class SnapshotOrigin(Struct, frozen=True, kw_only=True):
    """Which service's first start a snapshot holds, for any user, and the password that its data was made with."""

    digest: str
    anywhere: str
    password: str | None


class RequiredImage(Struct, frozen=True, kw_only=True):
    """An image that services need, as it is on the engine."""

    image_id: str
    names: tuple[str, ...]
    services: tuple[str, ...]
    origins: tuple[BuildOrigin, ...] = ()
    frozen: SnapshotOrigin | None = None

    @property
    def kind(self) -> str:
        """Where it comes from, in a word."""
        return "snapshot" if self.frozen else "built" if self.origins else "pulled"

    @property
    def pinned(self) -> tuple[str, ...]:
        """Names with a digest, which only a pull gives an image."""
        return tuple(name for name in self.names if "@" in name)


class StoredImage(Struct, frozen=True, kw_only=True):
    """An image in the folder."""

    image: RequiredImage
    parts: Parts

    @property
    def size_bytes(self) -> int:
        """Of all its parts, also of those that other images have too."""
        return sum(blob.size_bytes for blob in self.parts.blobs)


class Index(Struct, frozen=True, kw_only=True):
    """What a folder holds. `machine` is the kind of processor that it was saved for."""

    machine: str = ""
    images: tuple[StoredImage, ...] = ()

    def blobs(self) -> frozenset[Blob]:
        """Every file that it needs."""
        return frozenset(blob for saved in self.images for blob in saved.parts.blobs)


class ImageStore:
    """The folder. IsolateError where it is not what it should be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> Index | None:
        """What it holds; None where nothing was ever saved."""
        path = self.folder / INDEX
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _broken(path, str(error)) from error
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            raise _broken(path, f"it is not of version {_VERSION}")
        try:
            return Index(machine=found["machine"], images=tuple(map(_parse_saved, found["images"])))
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(path, f"{type(error).__name__}: {error}") from error

    def complete_images(self, index: Index) -> tuple[StoredImage, ...]:
        """The images of which everything is there."""
        return tuple(s for s in index.images if all(map(self._has, s.parts.blobs)))

    def publish(self, index: Index) -> None:
        """Put an index in the place of the one before; then remove the files that it does not need any more."""
        content = {"version": _VERSION, **to_builtins(index)}
        descriptor, new = tempfile.mkstemp(dir=self._ensured(), prefix=".new-")
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=1)
        os.replace(new, self.folder / INDEX)
        self._remove_but({blob.digest for blob in index.blobs()})

    def put(self, pieces: Iterable[bytes]) -> Blob:
        """Keep content under its digest; what is there already is not written again."""
        digest = Digest()
        descriptor, new = tempfile.mkstemp(dir=self._ensured(), prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(digest.follow(pieces))
            blob = digest.blob()
            if not self._has(blob):
                os.replace(new, self._path(blob))
        finally:
            Path(new).unlink(missing_ok=True)
        return blob

    def open(self, blob: Blob) -> IO[bytes]:
        """Read what is kept."""
        return self._path(blob).open("rb")

    def _has(self, blob: Blob) -> bool:
        try:
            return self._path(blob).stat().st_size == blob.size_bytes
        except FileNotFoundError:
            return False

    def _path(self, blob: Blob) -> Path:
        return self.folder / blob.digest

    def _ensured(self) -> Path:
        # Passwords of snapshots are in it.
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.folder

    def _remove_but(self, kept: Collection[str]) -> None:
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in kept:
                path.unlink(missing_ok=True)


def parse_required(found: Mapping[str, Any]) -> RequiredImage:
    """What was written as plain types."""
    return RequiredImage(
        image_id=found["image_id"],
        names=tuple(found["names"]),
        services=tuple(found["services"]),
        origins=tuple(BuildOrigin(**origin) for origin in found["origins"]),
        frozen=SnapshotOrigin(**found["frozen"]) if found["frozen"] else None,
    )


def _parse_saved(found: Mapping[str, Any]) -> StoredImage:
    parts = found["parts"]
    layers = tuple(_parse_blob(blob) for blob in parts["layers"])
    return StoredImage(
        image=parse_required(found["image"]), parts=Parts(config=_parse_blob(parts["config"]), layers=layers)
    )


def _parse_blob(found: Mapping[str, Any]) -> Blob:
    if not re.fullmatch("[0-9a-f]{64}", found["digest"]):
        raise ValueError(f"{found['digest']!r} is not a digest")
    return Blob(digest=found["digest"], size_bytes=int(found["size_bytes"]))


def _broken(path: Path, why: str) -> IsolateError:
    return IsolateError(
        build_message(
            f"{path} is not an index of saved images", found=why, do="remove the folder, and save the images again"
        )
    )
