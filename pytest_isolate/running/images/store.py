"""The folder of `pytest-isolate images save`: files by their content, and an index that says which images they make up.

The index is written last, and replaced in one step: a save that was killed leaves the index of the one before.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from msgspec import Struct, ValidationError, convert, to_builtins

from pytest_isolate.engine.image_archive import Blob, Digest, Parts
from pytest_isolate.errors import IsolateError
from pytest_isolate.system import read_file, remove_file, replace_file

INDEX = "index.json"
_VERSION = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OURS = re.compile(rf"{_DIGEST.pattern}|\.new-\w+")


class BuildOrigin(Struct, frozen=True, kw_only=True):
    """Digest of the sources that an image was built from, in any folder, and the ids of its base images by name."""

    sources: str
    bases: Mapping[str, str]


class SnapshotOrigin(Struct, frozen=True, kw_only=True):
    """Digest of a snapshot, the digest that it has for any user, and the password of its data."""

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
        """Origin of the image in a word."""
        return "snapshot" if self.frozen else "built" if self.origins else "pulled"

    @property
    def pinned(self) -> tuple[str, ...]:
        """Names with a digest: an image gets these only by a pull."""
        return tuple(name for name in self.names if "@" in name)


class StoredImage(Struct, frozen=True, kw_only=True):
    """An image in the folder."""

    image: RequiredImage
    parts: Parts

    @property
    def size_bytes(self) -> int:
        """Size of all its parts, also of those that it shares with other images."""
        return sum(blob.size_bytes for blob in self.parts.blobs)


class Index(Struct, frozen=True, kw_only=True):
    """Contents of a folder. `machine` is the kind of processor that the images are for."""

    machine: str = ""
    images: tuple[StoredImage, ...] = ()

    def blobs(self) -> frozenset[Blob]:
        """All files of the images."""
        return frozenset(blob for stored in self.images for blob in stored.parts.blobs)


class ImageStore:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> Index | None:
        """Read the index; None where nothing was ever saved, IsolateError where it is broken."""
        path = self.folder / INDEX
        try:
            found = json.loads(read_file(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _broken(path, str(error)) from error
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            raise _broken(path, f"it is not of version {_VERSION}")
        try:
            index = convert(found, Index)
        except ValidationError as error:
            raise _broken(path, str(error)) from error
        # A digest is the name of a file: anything else could lead out of the folder.
        for digest in (blob.digest for blob in index.blobs() if not _DIGEST.fullmatch(blob.digest)):
            raise _broken(path, f"{digest!r} is not a digest")
        return index

    def complete_images(self, index: Index) -> tuple[StoredImage, ...]:
        """Return the images of which every file is there."""
        return tuple(stored for stored in index.images if all(map(self._has, stored.parts.blobs)))

    def publish(self, index: Index) -> None:
        """Replace the index; then remove the files that it no longer needs."""
        descriptor, new = tempfile.mkstemp(dir=self._ensured(), prefix=".new-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"version": _VERSION, **to_builtins(index)}, file, indent=1)
        replace_file(new, self.folder / INDEX)
        kept = {blob.digest for blob in index.blobs()}
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in kept:
                remove_file(path)

    def put(self, pieces: Iterable[bytes]) -> Blob:
        """Store content under its digest, where it is not there yet."""
        digest = Digest()
        descriptor, new = tempfile.mkstemp(dir=self._ensured(), prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(digest.follow(pieces))
            blob = digest.blob()
            if not self._has(blob):
                replace_file(new, self._path(blob))
        finally:
            Path(new).unlink(missing_ok=True)
        return blob

    def open(self, blob: Blob) -> IO[bytes]:
        """Open stored content."""
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


def _broken(path: Path, why: str) -> IsolateError:
    what = f"{path} is not an index of saved images"
    return IsolateError(what, found=why, do="remove the folder, and save the images again")
