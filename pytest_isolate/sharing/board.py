"""Agreements between processes of this host: files in a folder, under locks. The only module that imports filelock.

Locks are advisory locks of the kernel, which lets go of them when their holder dies, however it dies. Lock files are
never removed while they may be in use: removing one would let in two.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from msgspec import to_builtins

from pytest_isolate.model.resources import Resources
from pytest_isolate.sharing.cache import cache_folder, private_folder, usable
from pytest_isolate.sharing.leases import Lease, Refused
from pytest_isolate.system import read_file, remove_file, replace_file

Check = Callable[[], None]
# How often a waiting process asks for the lock, and calls its check.
_POLL_S = 0.02


class Board:
    """A notice board: the holder of a name's lock may publish one record under it, which all can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        private_folder(folder)

    @contextmanager
    def claim(self, name: str, check: Check) -> Iterator[None]:
        """Hold a name's lock. While another holds it, `check` is called again and again; it may raise."""
        lock = FileLock(self._path(name, "lock"))
        while True:
            check()
            with usable(self._folder):
                self._folder.stat()  # the lock would make it anew, and all that was agreed upon would be forgotten
                try:
                    lock.acquire(timeout=5 * _POLL_S, poll_interval=_POLL_S)
                    break
                except Timeout:
                    continue
        try:
            yield
        finally:
            lock.release()

    def read(self, name: str) -> dict[str, Any] | None:
        """The record under a name; None where there is none."""
        return _read_json(self._path(name, "json"))

    def publish(self, name: str, record: dict[str, Any]) -> None:
        """Publish a record, all of it or nothing."""
        _write_json(self._path(name, "json"), record)

    def withdraw(self, name: str) -> None:
        """Take a record away. Safe to repeat."""
        remove_file(self._path(name, "json"))
        remove_file(self._path(name, "begun"))

    def clear(self, but: Collection[str] = ()) -> None:
        """Take all records away, but those under some names."""
        kept = {self._path(name, "json") for name in but}
        for path in {*self._folder.glob("*.json"), *self._folder.glob("*.begun")} - kept:
            remove_file(path)

    def clear_older_than(self, age_s: float) -> None:
        """Take away all records that were published so long ago."""
        oldest = time.time() - age_s
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):  # another process takes it away as well
                if path.stat().st_mtime < oldest:
                    remove_file(path)

    def records(self) -> list[dict[str, Any]]:
        """All that is published."""
        return [record for path in sorted(self._folder.glob("*.json")) if (record := _read_json(path))]

    def mark_started(self, name: str) -> None:
        """Note that work on a name has begun: a process that takes over has to expect leftovers."""
        with usable(self._folder):
            self._path(name, "begun").touch()

    def was_started(self, name: str) -> bool:
        """True if work has begun; without a record beside it, it was not completed."""
        return self._path(name, "begun").exists()

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{_digest(name)}.{suffix}"


class LeaseTable:
    """The leases of a run, changed by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "leases"
        self._lock = folder / "leases.lock"

    def update(self, change: Callable[[tuple[Lease, ...]], tuple[Lease, ...] | Refused]) -> Refused | None:
        """Apply a pure function to the table; a refusal leaves it as it is and is handed back.

        PathError where its folder is gone: something has removed it, or the run has ended meanwhile.
        """
        with usable(self._lock.parent):
            self._lock.parent.stat()  # as above
        with held(self._lock):
            table = _read_json(self._path) or {"leases": []}
            leases = tuple(
                Lease(**{**record, "room": Resources(**record["room"]), "max_claim": Resources(**record["max_claim"])})
                for record in table["leases"]
            )
            changed = change(leases)
            if isinstance(changed, Refused):
                return changed
            if changed != leases:
                _write_json(self._path, {"leases": [to_builtins(lease) for lease in changed]})
        return None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a file; PathError where it cannot be made."""
    lock = FileLock(path)
    with usable(path.parent):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def try_to_hold(path: Path) -> Callable[[], None] | None:
    """Hold the lock of a file until what is returned is called, in any thread; None where another has it."""
    lock = FileLock(path, thread_local=False)
    with usable(path.parent):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
    return lock.release


def open_locks(folder: Path | None = None) -> Callable[[str], AbstractContextManager[None]]:
    """A function that gives the lock of a name for all runs of this user, to be held with `with`."""
    locks = private_folder((folder or cache_folder()) / "locks")
    return lambda name: held(locks / f"{_digest(name)}.lock")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(read_file(path))
    except (OSError, ValueError):
        return None
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside it and rename: a reader sees the old content or the new one, never a part."""
    with usable(path.parent):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
        replace_file(temporary, path)
