"""The block of variables that `up` keeps in a file of the user's, and `down` takes out; the rest is never touched."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from msgspec import Struct

from pytest_isolate.errors import IsolateError
from pytest_isolate.running.containers.view import as_env_file
from pytest_isolate.sharing.board import Board, open_locks
from pytest_isolate.system import replace_file, user_id

BEGIN = b"# >>> pytest-isolate up >>> replaced by the next up, removed by down"
END = b"# <<< pytest-isolate up <<<"
# The last line of the user's had no end; it has none again when the block is taken out.
_JOINED = b" (with the line end before)"
# The file is read as a whole; what is longer is no file of variables.
_MOST_BYTES = 1 << 20
_NOTES = "env files"
_ANOTHER = "name another file, or one that does not exist yet"


class EnvFileRefused(IsolateError):
    """A file in which a block cannot be written without touching more than that."""

    def __init__(self, path: Path, found: str, do: str = _ANOTHER) -> None:
        super().__init__(f"the variables cannot be in {path}", found=found, do=do)


class _Parts(Struct, frozen=True):
    """A file's content: what is before the block, the block, what is after."""

    before: bytes
    block: bytes = b""
    after: bytes = b""


def check_env_file(path: Path) -> None:
    """Raise EnvFileRefused where a block cannot be written; nothing is changed."""
    _split(path, _read(path))
    os.unlink(_create_beside(path))


def write_block(path: Path, variables: Mapping[str, str], board: Board) -> None:
    """Write or replace the block, and note on the board of the project where it is."""
    with _alone(path):
        is_new = not path.exists()
        content = _read(path)
        parts = _split(path, content)
        newline = b"\r\n" if content.partition(b"\n")[0].endswith(b"\r") else b"\n"
        is_open = not parts.block and bool(content) and not content.endswith(b"\n")
        is_joined = is_open or parts.block.startswith(BEGIN + _JOINED)
        text = [BEGIN + _JOINED * is_joined, *as_env_file(variables).encode().split(b"\n")[:-1], END]
        block = b"".join(line + newline for line in text)
        _replace(path, parts.before + newline * is_open + block + parts.after)
        _note(board, path, block, is_new)


def remove_blocks(board: Board) -> list[str]:
    """Take the noted blocks out of their files; a text for each that stays."""
    stay = []
    for name, noted in (board.read(_NOTES) or {}).items():
        try:
            _remove_block(Path(name), noted["block"], is_own=noted["is_own"])
        except EnvFileRefused as error:
            stay.append(str(error))
    board.withdraw(_NOTES)
    return stay


def _remove_block(path: Path, digest: str, *, is_own: bool) -> None:
    with _alone(path):
        parts = _split(path, _read(path))
        if not parts.block:
            return
        if _digest(parts.block) != digest:
            raise EnvFileRefused(
                path, "its lines of pytest-isolate were changed since, and stay", "remove them by hand"
            )
        before = parts.before
        if parts.block.startswith(BEGIN + _JOINED) and not parts.after:
            before = before.removesuffix(b"\n").removesuffix(b"\r")
        if is_own and not before + parts.after:
            path.unlink()
        else:
            _replace(path, before + parts.after)


def _note(board: Board, path: Path, block: bytes, is_new: bool) -> None:
    notes = board.read(_NOTES) or {}
    name = str(path.resolve())
    is_own = is_new or (name in notes and notes[name]["is_own"])
    board.publish(_NOTES, {**notes, name: {"block": _digest(block), "is_own": is_own}})


def _split(path: Path, content: bytes) -> _Parts:
    lines = re.findall(rb"[^\n]*\n|[^\n]+", content)
    marks = [(number, line) for number, line in enumerate(lines) if line.startswith((BEGIN, END))]
    match marks:
        case []:
            return _Parts(content)
        case [(first, begin), (last, end)] if begin.startswith(BEGIN) and end.startswith(END):
            parts = lines[:first], lines[first : last + 1], lines[last + 1 :]
            return _Parts(*map(b"".join, parts))
    found = "; ".join(f"line {number + 1}: {line.decode().strip()}" for number, line in marks)
    raise EnvFileRefused(path, f"there is no one block from its begin to its end, but {found}", "correct these lines")


def _read(path: Path) -> bytes:
    """The content; EnvFileRefused where it cannot be replaced by another without a loss."""
    try:
        found = path.lstat()
        reason = _why_not(path, found)
        if reason:
            raise EnvFileRefused(path, reason)
        content = path.read_bytes()
        content.decode()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise EnvFileRefused(path, str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise EnvFileRefused(path, f"it is not UTF-8: {error.reason} at byte {error.start}") from error
    if b"\0" in content:
        raise EnvFileRefused(path, "it is no text: there are zero bytes in it")
    return content


def _why_not(path: Path, found: os.stat_result) -> str:
    if stat.S_ISLNK(found.st_mode):
        return f"it is a link to {path.readlink()}"
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file"
    if found.st_nlink > 1:
        return f"it has {found.st_nlink} names (hard links), and only one of them would have the variables"
    if found.st_size > _MOST_BYTES:
        return f"it has {found.st_size} bytes: too much for a file of variables"
    if user_id() not in (0, found.st_uid):
        return "it belongs to another user"
    return "" if found.st_mode & 0o222 else "it is read-only"


def _create_beside(path: Path) -> str:
    """A new empty file in the same folder, readable by this user only."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.new-")
    except OSError as error:
        raise EnvFileRefused(path, f"no file can be made in {path.parent}: {error.strerror}") from error
    os.close(descriptor)
    return name


def _replace(path: Path, content: bytes) -> None:
    """Write beside it and rename: at every moment there is the old content or the new one, with the same rights."""
    new = Path(_create_beside(path))
    try:
        if path.exists():
            found, own = path.stat(), new.stat()
            if hasattr(os, "chown") and (found.st_uid, found.st_gid) != (own.st_uid, own.st_gid):
                os.chown(new, found.st_uid, found.st_gid)
            shutil.copystat(path, new)
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.utime(new)
        replace_file(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise EnvFileRefused(path, f"it could not be written: {error.strerror}") from error


def _alone(path: Path) -> AbstractContextManager[object]:
    """Hold the lock: no other process of this user changes the file meanwhile."""
    return open_locks()(f"env file {path.resolve()}")


def _digest(block: bytes) -> str:
    return hashlib.sha256(block).hexdigest()
