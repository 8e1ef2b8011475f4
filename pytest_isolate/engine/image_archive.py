"""Archives of images, as engines write and read them, taken apart into files by content and put together again.

Images that stand on one another share layers; each layer is one file, however many images have it.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Protocol, cast

from msgspec import Struct

_PIECE_BYTES = 1 << 20
_MANIFEST = "manifest.json"


class Blob(Struct, frozen=True, kw_only=True):
    """Some content: its SHA-256, in hex, and its size."""

    digest: str
    size_bytes: int


class Parts(Struct, frozen=True, kw_only=True):
    """Parts of an image: its configuration, and its layers from the lowest up."""

    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All of it."""
        return (self.config, *self.layers)


class Store(Protocol):
    """Keeps content under its digest."""

    def put(self, pieces: Iterable[bytes]) -> Blob:
        """Keep it."""

    def open(self, blob: Blob) -> IO[bytes]:
        """Read it."""


class Digest:
    """Counts and digests what passes through."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._size_bytes = 0

    def follow(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces."""
        for piece in pieces:
            self._sum.update(piece)
            self._size_bytes += len(piece)
            yield piece

    def blob(self) -> Blob:
        """The content that has passed so far."""
        return Blob(digest=self._sum.hexdigest(), size_bytes=self._size_bytes)


def read_images(pieces: Iterable[bytes], store: Store) -> list[Parts]:
    """The parts of each image in an archive, kept in a store; ValueError where it is no archive of images."""
    blobs: dict[str, Blob] = {}
    links: dict[str, str] = {}
    manifest = None
    try:
        with tarfile.open(fileobj=cast(IO[bytes], _Reader(pieces)), mode="r|") as archive:
            for entry in archive:
                name = posixpath.normpath(entry.name)
                content = archive.extractfile(entry) if entry.isfile() else None
                if entry.issym():
                    # Some engines write a layer once, and lead to it from wherever it is used again.
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.linkname))
                elif content and name == _MANIFEST:
                    manifest = json.load(content)
                elif content:
                    blobs[name] = store.put(_read(content))
    except tarfile.TarError as error:
        raise ValueError(f"it is not an archive of images: {error}") from error
    if manifest is None:
        raise ValueError(f"it is not an archive of images: there is no {_MANIFEST} in it")
    find = {name: blobs.get(links.get(name, name)) for name in {*blobs, *links}}
    return [_parts(image, find.get) for image in manifest]


def write_images(images: Sequence[Parts], store: Store) -> Iterator[bytes]:
    """An archive of these images, in this order and without names, piece by piece."""
    manifest = [
        {"Config": f"{i.config.digest}.json", "RepoTags": None, "Layers": [f"{b.digest}.tar" for b in i.layers]}
        for i in images
    ]
    files = {f"{image.config.digest}.json": image.config for image in images}
    files |= {f"{layer.digest}.tar": layer for image in images for layer in image.layers}
    for name, blob in files.items():
        with store.open(blob) as content:
            yield from _member(name, blob.size_bytes, _read(content))
    text = json.dumps(manifest).encode()
    yield from _member(_MANIFEST, len(text), [text])
    yield bytes(2 * tarfile.BLOCKSIZE)


def _parts(image: dict[str, object], find: Callable[[str], Blob | None]) -> Parts:
    layers = image["Layers"]
    assert isinstance(layers, list)
    found = [find(posixpath.normpath(str(name))) for name in (image["Config"], *layers)]
    config, *rest = (blob for blob in found if blob)
    if len(found) != len(rest) + 1:
        raise ValueError("it is not a whole archive of images: a layer is missing")
    return Parts(config=config, layers=tuple(rest))


def _member(name: str, size_bytes: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    entry = tarfile.TarInfo(name)
    entry.size = size_bytes
    yield entry.tobuf()
    yield from pieces
    yield bytes(-size_bytes % tarfile.BLOCKSIZE)


def _read(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(_PIECE_BYTES):
        yield piece


class _Reader:
    """Pieces as a file to be read from beginning to end."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """So many bytes; fewer at the end."""
        taken = [self._rest]
        length = len(self._rest)
        while length < size and (piece := next(self._pieces, b"")):
            taken.append(piece)
            length += len(piece)
        content = b"".join(taken)
        self._rest = content[size:]
        return content[:size]
