"""Files for a container as the tar archive that engines take, read piece by piece however large they are."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from msgspec import Struct

from pytest_isolate.engine.api import PathOwner
from pytest_isolate.errors import PathError
from pytest_isolate.model.service import File
from pytest_isolate.user_files import check_folder, file_mode, open_regular, read_link

ROOT = PathOwner()
_TEXT_MODE = 0o644
_PIECE_BYTES = 1 << 20


class Copied(Struct, frozen=True, kw_only=True):
    """A text, file or folder that is copied to a place in a container.

    Without an owner it belongs to the user that it belongs to on this host. `top_owner` and `top_mode` are those of a
    folder itself. Whatever lies at a path that is `hidden`, another mount's, is left out.
    """

    target: str
    source: str = ""
    content: bytes = b""
    mode: int | None = None
    owner: PathOwner | None = ROOT
    top_owner: PathOwner | None = None
    top_mode: int | None = None
    hidden: tuple[str, ...] = ()


def build_archive(files: Iterable[File]) -> bytes:
    """An archive of small files, to be unpacked at a container's root."""
    return b"".join(stream_archive(map(as_copied, files)))


def as_copied(file: File) -> Copied:
    """A file as it is copied where nothing else is known: it belongs to root."""
    content = file.data or (file.text or "").encode()
    return Copied(target=file.target, source=file.source or "", content=content, mode=file.mode)


def stream_archive(copied: Iterable[Copied], folder: str = "/") -> Iterator[bytes]:
    """An archive to be unpacked in a folder of a container; PathError for what cannot be read."""
    for item in copied:
        if item.source:
            with _told(item.source):
                yield from _pack_source(item, folder)
        else:
            entry = tarfile.TarInfo(_name_in(folder, item.target))
            entry.size, entry.mtime = len(item.content), int(time.time())
            entry.mode = _TEXT_MODE if item.mode is None else item.mode
            yield from (_head(entry, item.owner or ROOT), item.content, _padding(entry.size))
    yield bytes(2 * tarfile.BLOCKSIZE)


def digest_source(source: str) -> str:
    """A digest of what a file or folder of this host holds: names, modes and contents, but neither owners nor times."""
    digest = hashlib.sha256()
    with _told(source):
        for name, path, found in _walk(source):
            kind = stat.S_IFMT(found.st_mode)
            link = read_link(path) if stat.S_ISLNK(kind) else ""
            head = (name, kind, file_mode(found), link, found.st_size if stat.S_ISREG(kind) else 0)
            digest.update(repr(head).encode(errors="surrogateescape"))
            if stat.S_ISREG(kind):
                for piece in _pieces(path, found.st_size):
                    digest.update(piece)
    return digest.hexdigest()


def read_digests(sources: Iterable[str]) -> dict[str, str]:
    """A digest of what each file or folder of this host holds, by its path."""
    return {source: digest_source(source) for source in sources}


def _pack_source(item: Copied, folder: str) -> Iterator[bytes]:
    top = _name_in(folder, item.target)
    hidden = {str(PurePosixPath(path).relative_to(item.target)) for path in item.hidden}
    for name, path, found in _walk(item.source, hidden):
        entry = tarfile.TarInfo(f"{top}/{name}" if name else top)
        entry.mode, entry.mtime = file_mode(found), int(found.st_mtime)
        owner = item.owner or PathOwner(found.st_uid, found.st_gid)
        if stat.S_ISDIR(found.st_mode):
            entry.type = tarfile.DIRTYPE
            if not name:
                owner, entry.mode = item.top_owner or owner, entry.mode if item.top_mode is None else item.top_mode
        elif stat.S_ISLNK(found.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, read_link(path)
        else:
            entry.size, entry.mode = found.st_size, entry.mode if item.mode is None else item.mode
        yield _head(entry, owner)
        if entry.size:
            yield from _pieces(path, entry.size)
            yield _padding(entry.size)


def _walk(top: str, hidden: Iterable[str] = ()) -> Iterator[tuple[str, str, os.stat_result]]:
    """Each regular file, folder and link below a path, by its name from there; a folder comes before what is in it."""
    found = os.stat(top)  # a link as the source itself is followed
    if not stat.S_ISDIR(found.st_mode):
        open_regular(top).close()  # which refuses all else
    yield "", top, found
    folders = [("", top)] if stat.S_ISDIR(found.st_mode) else []
    while folders:
        above, folder = folders.pop()
        check_folder(folder)
        for name in sorted(os.listdir(folder), reverse=True):
            inner, path = f"{above}/{name}" if above else name, os.path.join(folder, name)
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                continue  # gone since the folder was listed
            is_folder = stat.S_ISDIR(found.st_mode)
            if inner in hidden or not (is_folder or stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
                continue
            if is_folder:
                folders.append((inner, path))
            yield inner, path, found


def _pieces(path: str, size_bytes: int) -> Iterator[bytes]:
    """Exactly so many bytes of a file: an archive says its size before its content."""
    with open_regular(path) as file:
        left = size_bytes
        while left:
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise OSError(0, "it has become shorter while it was copied", path)
            left -= len(piece)
            yield piece


def _head(entry: tarfile.TarInfo, owner: PathOwner) -> bytes:
    entry.uid, entry.gid = owner.uid, owner.gid
    # GNU's format takes names that are no UTF-8 as they are.
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % tarfile.BLOCKSIZE)


def _name_in(folder: str, target: str) -> str:
    return str(PurePosixPath(target).relative_to(folder))


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PathError(
            path, error, do="files, folders and links are copied, but no pipes, sockets or devices"
        ) from error
