"""The folder of this user for what outlives a run, and how such folders and secrets are made."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_isolate.errors import PathError
from pytest_isolate.system import SYSTEM, System
from pytest_isolate.user_files import find_home

_DO = "pytest-isolate needs a folder with room in which it can write: XDG_CACHE_HOME names it, or TMPDIR"
_GONE = "let nothing remove it while it is in use: tests, or a program that tidies the temporary folder"


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """PathError where the block fails because a folder, or what is in it, cannot be made, read or written."""
    try:
        yield
    except OSError as error:
        # Without a name it is no file that is gone: Python has found no temporary folder at all.
        is_gone = isinstance(error, FileNotFoundError) and error.filename
        raise PathError(folder, error, do=_GONE if is_gone else _DO) from error


def cache_folder() -> Path:
    """The folder of this user for what outlives a run (XDG Base Directory Specification; Windows has its own)."""
    named = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if SYSTEM is System.WINDOWS else "")
    home = find_home()
    if not named and home is None:
        missing = FileNotFoundError("this user has no home folder, and HOME names none")
        raise PathError("the cache folder", missing, do="set HOME, or XDG_CACHE_HOME, to a folder of yours")
    return private_folder(Path(named or f"{home}/.cache") / "pytest-isolate")


def ensure_secret(folder: Path) -> bytes:
    """A random secret that stays in a folder, readable by this user only; the same for all who ask at once."""
    path = private_folder(folder) / "secret"
    with usable(folder):
        if not path.exists():
            _make_secret(path)
        return bytes.fromhex(path.read_text(encoding="utf-8"))


def _make_secret(path: Path) -> None:
    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        os.unlink(new)


def private_folder(folder: Path) -> Path:
    """A folder that only this user can read, made where it is missing."""
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Windows has no such bits: what is below a user's own folders is that user's.
        if SYSTEM is not System.WINDOWS and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    return folder
