"""The folders that processes of this host share."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_isolate.errors import PathError
from pytest_isolate.model.identity import Owner, parse_owner
from pytest_isolate.sharing.owners import judge, read_owner, read_start_time
from pytest_isolate.user_files import find_home

_DO = "pytest-isolate needs a folder with room in which it can write: XDG_CACHE_HOME names it, or TMPDIR"
_OWNER = "owner"
# A folder without an owner is taken for abandoned after this time.
_UNSIGNED_S = 3600
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
    """The folder of this user for what outlives a run (XDG Base Directory Specification)."""
    named = os.environ.get("XDG_CACHE_HOME")
    home = find_home()
    if not named and home is None:
        missing = FileNotFoundError("this user has no home folder, and HOME names none")
        raise PathError("the cache folder", missing, do="set HOME, or XDG_CACHE_HOME, to a folder of yours")
    return private_folder(Path(named or f"{home}/.cache") / "pytest-isolate")


def kept_folder() -> Path:
    """The folder in which projects note the services that they keep between runs."""
    return private_folder(cache_folder() / "kept")


def ensure_secret(folder: Path) -> bytes:
    """A random secret that stays in a folder, readable by this user only; the same for all who ask at once."""
    path = private_folder(folder) / "secret"
    with usable(folder):
        if not path.exists():
            _make_secret(path)
        return bytes.fromhex(path.read_text())


def _make_secret(path: Path) -> None:
    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        os.unlink(new)


class Usage:
    """Times of last use, by name, in seconds of the epoch."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)

    def note(self, name: str) -> None:
        """Note that it is used now."""
        with usable(self._folder):
            (self._folder / name).touch()

    def read(self) -> dict[str, float]:
        """The last use of everything that was ever noted."""
        with usable(self._folder):
            return {path.name: path.stat().st_mtime for path in self._folder.iterdir()}

    def forget(self, name: str) -> None:
        """Forget what is gone. Safe to repeat."""
        with usable(self._folder):
            (self._folder / name).unlink(missing_ok=True)


def snapshot_usage() -> Usage:
    """Times of last use of this user's snapshots."""
    return Usage(cache_folder() / "snapshots")


def built_folder() -> Path:
    """The folder of notes on what images were built from."""
    return cache_folder() / "built"


def image_paths_folder() -> Path:
    """The folder of notes on what images have at the places that files are put."""
    return cache_folder() / "paths"


def external_copies_folder() -> Path:
    """The folder in which processes register that make databases on external servers."""
    return cache_folder() / "foreign"


def create_run_folder(run_id: str, owner: str) -> Path:
    """A folder of a run, or of one process; readable by this user only. Later runs remove it when its owner is dead."""
    with usable(Path("the temporary folder")):
        folder = Path(tempfile.mkdtemp(prefix=f"pytest-isolate-{run_id}-"))
    try:
        with usable(folder):
            (folder / _OWNER).write_text(owner)
    except BaseException:
        remove_run_folder(folder)
        raise
    return folder


@contextmanager
def process_folder(purpose: str) -> Iterator[Path]:
    """A folder of this process for a block; where it is killed meanwhile, a later run removes it."""
    folder = create_run_folder(purpose, read_owner().encode())
    try:
        yield folder
    finally:
        remove_run_folder(folder)


def remove_dead_folders(here: Owner) -> None:
    """Remove the folders of this user whose owners are provably dead."""
    for folder in Path(tempfile.gettempdir()).glob("pytest-isolate-*-*"):
        with suppress(OSError):  # another user's, or removed by its own run at this moment
            if _is_abandoned(folder, here):
                remove_run_folder(folder)


def _is_abandoned(folder: Path, here: Owner) -> bool:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return False
    content = os.listdir(folder)
    owner = (folder / _OWNER).read_text(errors="replace") if _OWNER in content else ""
    if owner:
        return judge(parse_owner(owner), here, read_start_time).is_dead
    # Its maker was killed before it could sign it, which takes less than a millisecond.
    return set(content) <= {_OWNER} and time.time() - found.st_mtime > _UNSIGNED_S


def remove_run_folder(folder: Path) -> None:
    """Remove it with all that is in it. Call it when every process of the run has ended."""
    # Its owner's name goes last: a later run finishes what a killed process has begun.
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name != _OWNER:
                shutil.rmtree(path, ignore_errors=True)
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def private_folder(folder: Path) -> Path:
    """A folder that only this user can read, made where it is missing."""
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    return folder
