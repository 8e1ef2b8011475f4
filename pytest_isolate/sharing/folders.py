"""The folders that processes of this host share, and what is noted in them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_isolate.model.identity import Owner, parse_owner
from pytest_isolate.sharing.cache import cache_folder, private_folder, usable
from pytest_isolate.sharing.owners import judge, read_owner, read_start_time
from pytest_isolate.system import user_id

_OWNER = "owner"
# A folder without an owner is taken for abandoned after this time.
_UNSIGNED_S = 3600


def kept_folder() -> Path:
    """The folder in which projects note the services that they keep between runs."""
    return private_folder(cache_folder() / "kept")


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


def claimed_ports_folder() -> Path:
    """The folder of locks for ports that no socket can hold, one for each."""
    return private_folder(cache_folder() / "ports")


def external_copies_folder() -> Path:
    """The folder in which processes register that make databases on external servers."""
    return cache_folder() / "foreign"


def create_run_folder(run_id: str, owner: str) -> Path:
    """A folder of a run, or of one process; readable by this user only. Later runs remove it when its owner is dead."""
    with usable(Path("the temporary folder")):
        folder = Path(tempfile.mkdtemp(prefix=f"pytest-isolate-{run_id}-"))
    try:
        with usable(folder):
            (folder / _OWNER).write_text(owner, encoding="utf-8")
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
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user_id():
        return False
    content = os.listdir(folder)
    owner = (folder / _OWNER).read_text(encoding="utf-8", errors="replace") if _OWNER in content else ""
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
