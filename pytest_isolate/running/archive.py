"""Files for a container as the tar archive that engines take."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pytest_isolate.errors import PathError
from pytest_isolate.model.service import File
from pytest_isolate.user_files import MOST_BYTES, check_folder, read_bytes

_TEXT_MODE = 0o644


def build_archive(files: Iterable[File]) -> bytes:
    """An archive to be unpacked at the container's root; everything in it belongs to root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files:
            name = file.target.lstrip("/")
            if file.source and Path(file.source).is_dir():
                # Resolved, because tarfile would add a link to a folder as a link.
                _check_folder(Path(file.source))
                archive.add(Path(file.source).resolve(), arcname=name, filter=partial(_owned_by_root, mode=file.mode))
            else:
                content = _read(file.source) if file.source else file.data or (file.text or "").encode()
                own_mode = Path(file.source).stat().st_mode & 0o7777 if file.source else _TEXT_MODE
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), own_mode if file.mode is None else file.mode
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def read_digests(files: Iterable[File]) -> dict[str, str]:
    """A digest of what each file or folder of the host holds, by its path in the container."""
    return {f.target: hashlib.sha256(build_archive([f])).hexdigest() for f in files if f.source}


def _read(source: str) -> bytes:
    with _told(source):
        return read_bytes(source)


def _check_folder(folder: Path) -> None:
    """PathError for a folder of the kernel, or with more in it than is read."""
    with _told(str(folder)):
        check_folder(folder)


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PathError(path, error, do=f"regular files of up to {MOST_BYTES >> 20} MiB are copied") from error


def _owned_by_root(entry: tarfile.TarInfo, *, mode: int | None) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0  # a fresh checkout has new times and the same content
    if mode is not None and entry.isfile():
        entry.mode = mode
    return entry
