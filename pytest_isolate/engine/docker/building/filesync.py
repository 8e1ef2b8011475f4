"""Files for a build: the engine is told of all that it may see, and asks for what it has not kept since the last one.

Protocol: github.com/tonistiigi/fsutil, wire.proto and send.go, as moby.filesync.v1.FileSync/DiffCopy.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_plus

from msgspec import Struct

from pytest_isolate.engine.docker.building.grpc import UNKNOWN, CallFailed, Metadata
from pytest_isolate.engine.docker.building.protobuf import bytes_in, decode, encode, number_in
from pytest_isolate.engine.docker.wire import go_mode
from pytest_isolate.engine.dockerignore import Hits, IgnoreRules

CONTEXT, DOCKERFILE = "context", "dockerfile"
_STAT, _REQUEST, _DATA, _FIN, _ERROR = range(5)
_PIECE_BYTES = 32 * 1024


class Entry(Struct, frozen=True, kw_only=True):
    """A file, folder or link to tell of; `path` below the folder; the content of a text is here, of a file at `file`.

    Who owns it is not told: as for `docker build` all of it belongs to root.
    """

    path: str
    mode: int
    size: int = 0
    changed_ns: int = 0
    target: str = ""
    file: Path | None = None
    text: bytes = b""

    @classmethod
    def of_text(cls, path: str, text: bytes) -> Entry:
        """A regular file that need not be on any disk. The engine takes equal sizes and times for equal content."""
        changed_ns = int.from_bytes(hashlib.sha256(text).digest()[:7], "big")
        return cls(path=path, mode=go_mode(stat.S_IFREG | 0o644), size=len(text), changed_ns=changed_ns, text=text)

    def as_stat(self) -> bytes:
        """The message of type fsutil.types.Stat."""
        return encode((1, self.path), (2, self.mode), (5, self.size), (6, self.changed_ns), (7, self.target))

    def read(self) -> Iterator[bytes]:
        """The content of a regular file, in pieces."""
        if self.file is None:
            yield from (self.text[at : at + _PIECE_BYTES] for at in range(0, len(self.text), _PIECE_BYTES))
            return
        with self.file.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece


def walk_folder(folder: Path, excluded: Sequence[str] = (), followed: Sequence[str] = ()) -> Iterator[Entry]:
    """Tell of all in a folder but what is excluded; of what is `followed` only, where that meets no links.

    In the order that the engine wants: by the bytes of names, each folder before what is in it.
    """
    wanted = _plain_paths(folder, followed)
    yield from _walk(folder, "", IgnoreRules(excluded), (), [PurePosixPath(path).parts for path in wanted], [])


def _walk(
    folder: Path, own: str, rules: IgnoreRules, above: Hits, wanted: list[tuple[str, ...]], pending: list[Entry]
) -> Iterator[Entry]:
    """`pending` are folders that are left out, unless something below them is not.

    What is gone since its folder was listed is passed over: programs beside the build, such as the tests, write there.
    """
    for found in _list(folder, is_top=not own):
        path = f"{own}{found.name}"
        if wanted and not any(_meets(path.split("/"), parts) for parts in wanted):
            continue
        hits = rules.hits(path, above)
        is_left_out = rules.is_left_out(hits)
        try:
            facts = found.stat(follow_symlinks=False)
            target = os.readlink(found.path) if stat.S_ISLNK(facts.st_mode) else ""
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(facts.st_mode):
            entry = Entry(path=path, mode=go_mode(facts.st_mode), changed_ns=facts.st_mtime_ns)
            if is_left_out and not rules.may_hold_more(path):
                continue
            pending.append(entry)
            if not is_left_out:
                yield from pending
                pending.clear()
            yield from _walk(Path(found.path), f"{path}/", rules, hits, wanted, pending)
            if entry in pending:
                pending.remove(entry)
        elif not is_left_out and (stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode)):
            yield from pending
            pending.clear()
            is_link = stat.S_ISLNK(facts.st_mode)
            yield Entry(
                path=path,
                mode=go_mode(facts.st_mode),
                size=0 if is_link else facts.st_size,
                changed_ns=facts.st_mtime_ns,
                target=target,
                file=None if is_link else Path(found.path),
            )


def _list(folder: Path, *, is_top: bool) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda found: os.fsencode(found.name))
    except FileNotFoundError:
        if is_top:
            raise
        return []


def _meets(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """True for what a pattern means, for all below that, and for the folders around it."""
    return all(fnmatchcase(part, wild) for part, wild in zip(parts, pattern, strict=False))


def _plain_paths(folder: Path, followed: Sequence[str]) -> list[str]:
    """The same paths below the folder; none, for everything, where one leads over a link or out of the folder."""
    paths = [path.strip("/") for path in followed]
    for path in paths:
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or any(set("[]\\") & set(part) for part in parts):
            return []
        for end in range(1, len(parts) + 1):
            if any(found.is_symlink() for found in folder.glob("/".join(parts[:end]))):
                return []
    return paths


class DiffCopy:
    """A call in which files are told of, and sent where they are asked for."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self._files: dict[int, Entry] = {}
        self.is_over = False

    def begin(self) -> Iterator[bytes]:
        try:
            for number, entry in enumerate(self._entries):
                self._files[number] = entry
                yield encode((1, _STAT), (2, [entry.as_stat()]))
        except OSError as error:
            raise _unreadable(error) from error
        yield encode((1, _STAT))

    def receive(self, message: bytes) -> Iterable[bytes]:
        packet = decode(message)
        kind = number_in(packet, 1)
        if kind == _REQUEST:
            return self._send(number_in(packet, 3))
        if kind == _ERROR:
            raise CallFailed(UNKNOWN, bytes_in(packet, 4).decode(errors="replace"))
        self.is_over = kind == _FIN
        return [encode((1, _FIN))] if self.is_over else []

    def end(self) -> Iterable[bytes]:
        self.is_over = True
        return []

    def _send(self, number: int) -> Iterator[bytes]:
        try:
            for piece in self._files[number].read():
                yield encode((1, _DATA), (3, number), (4, piece))
        except FileNotFoundError:
            pass  # gone since it was told of: empty, as `docker build` sends it
        except OSError as error:
            raise _unreadable(error) from error
        yield encode((1, _DATA), (3, number))


class Folders(Struct, frozen=True, kw_only=True):
    """The folder of a build, and the Dockerfile beside it with its own ignore file, by their names."""

    context: Path
    dockerfile: Sequence[Entry]

    def open(self, metadata: Metadata) -> DiffCopy:
        """Serve one of the two as the engine asks for it."""
        name = metadata.get("dir-name", ("",))[0]
        followed = (*_listed(metadata, "followpaths"), *_listed(metadata, "include-patterns"))
        if name == DOCKERFILE:
            return DiffCopy(sorted(self.dockerfile, key=lambda entry: os.fsencode(entry.path)))
        if name == CONTEXT:
            return DiffCopy(walk_folder(self.context, _listed(metadata, "exclude-patterns"), followed))
        raise CallFailed(UNKNOWN, f"no folder {name!r} is part of this build")


def _listed(metadata: Metadata, key: str) -> tuple[str, ...]:
    """Values of a header; newer engines write letters that a header cannot hold as in an address."""
    values = metadata.get(key, ())
    return tuple(map(unquote_plus, values)) if metadata.get(f"{key}-encoded") == ("1",) else values


def _unreadable(error: OSError) -> CallFailed:
    return CallFailed(UNKNOWN, f"{error.filename or 'a file of the build'} cannot be read: {error.strerror or error}")
