"""What processes of this host agree on: files in a folder, under locks. The only module that imports filelock.

Locks are advisory locks of the kernel, which lets go of them when their holder dies, however it dies. Lock files are
never removed while they may be in use: removing one would let in two.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pytest_isolate.model.resources import Resources
from pytest_isolate.sharing.leases import Lease, Refused

Check = Callable[[], None]
# How often a waiting process asks for the lock, and calls its check.
_POLL_S = 0.02


def home() -> Path:
    """The folder of this user for what outlives a run (XDG Base Directory Specification)."""
    return _private(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-isolate")


def kept_folder() -> Path:
    """Where projects note what they keep."""
    return _private(home() / "kept")


def ensure_secret(folder: Path) -> bytes:
    """A random secret that stays in a folder, readable by this user only; the same for all who ask at once."""
    path = _private(folder) / "secret"
    if not path.exists():
        descriptor, new = tempfile.mkstemp(dir=folder, prefix=".new-")
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(new, path)
        os.unlink(new)
    return bytes.fromhex(path.read_text())


class Usage:
    """When things were used last, by name, in seconds of the epoch."""

    def __init__(self, folder: Path) -> None:
        self._folder = _private(folder)

    def note(self, name: str) -> None:
        """It is used now."""
        (self._folder / name).touch()

    def read(self) -> dict[str, float]:
        """The last use of everything that was ever noted."""
        return {path.name: path.stat().st_mtime for path in self._folder.iterdir()}

    def forget(self, name: str) -> None:
        """It is gone. Safe to repeat."""
        (self._folder / name).unlink(missing_ok=True)


def snapshot_usage() -> Usage:
    """When this user's snapshots were used last."""
    return Usage(home() / "snapshots")


def built_folder() -> Path:
    """Where it is noted what images were built from."""
    return home() / "built"


def foreign_folder() -> Path:
    """Where processes sign up that make databases on servers which are not theirs."""
    return home() / "foreign"


def create_run_folder(run_id: str, owner: str) -> Path:
    """A folder for what the processes of one run agree on; readable by this user only."""
    folder = Path(tempfile.mkdtemp(prefix=f"pytest-isolate-{run_id}-"))
    (folder / "owner").write_text(owner)
    return folder


def run_folders() -> list[tuple[Path, str]]:
    """The folders of all runs of this user, with the run's owner as text."""
    folders = Path(tempfile.gettempdir()).glob("pytest-isolate-*-*")
    owners = ((folder, _read_owner(folder)) for folder in folders)
    return [(folder, owner) for folder, owner in owners if owner is not None]


def remove_run_folder(folder: Path) -> None:
    """Remove it with all that is in it. Call it when every process of the run has ended."""
    shutil.rmtree(folder, ignore_errors=True)


class Board:
    """A notice board: who holds a name's lock may publish one record under it, which everybody can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _private(folder)

    @contextmanager
    def claim(self, name: str, check: Check) -> Iterator[None]:
        """Hold a name's lock. While somebody else has it, `check` is called again and again; it may raise."""
        lock = FileLock(self._path(name, "lock"))
        while True:
            check()
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
        """The record under a name; None where nobody has published one."""
        return _read_json(self._path(name, "json"))

    def publish(self, name: str, record: dict[str, Any]) -> None:
        """Publish a record, all of it or nothing."""
        _write_json(self._path(name, "json"), record)

    def withdraw(self, name: str) -> None:
        """Take a record away. Safe to repeat."""
        self._path(name, "json").unlink(missing_ok=True)
        self._path(name, "begun").unlink(missing_ok=True)

    def clear(self, but: Collection[str] = ()) -> None:
        """Take all records away, but those under some names."""
        kept = {self._path(name, "json") for name in but}
        for path in {*self._folder.glob("*.json"), *self._folder.glob("*.begun")} - kept:
            path.unlink(missing_ok=True)

    def records(self) -> list[dict[str, Any]]:
        """All that is published."""
        return [record for path in sorted(self._folder.glob("*.json")) if (record := _read_json(path))]

    def begin(self, name: str) -> None:
        """Note that work on a name has begun, so that whoever takes over knows that there may be leftovers."""
        self._path(name, "begun").touch()

    def has_begun(self, name: str) -> bool:
        """Whether somebody has begun; without a record beside it, he did not get to the end."""
        return self._path(name, "begun").exists()

    def is_untouched(self) -> bool:
        """Whether nobody has begun anything."""
        return not any(self._folder.glob("*.begun"))

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.{suffix}"


class LeaseTable:
    """The leases of a run, changed by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "leases"
        self._lock = folder / "leases.lock"

    def update(self, change: Callable[[tuple[Lease, ...]], tuple[Lease, ...] | Refused]) -> Refused | None:
        """Apply a pure function to the table; a refusal leaves it as it is and is handed back."""
        if not self._lock.parent.is_dir():
            return Refused(
                "the run has ended"
            )  # a thread that it did not wait for; the lock would make the folder anew
        with FileLock(self._lock):
            table = _read_json(self._path) or {"leases": []}
            leases = tuple(map(_lease, table["leases"]))
            changed = change(leases)
            if isinstance(changed, Refused):
                return changed
            if changed != leases:
                _write_json(self._path, {"leases": [asdict(lease) for lease in changed]})
        return None


def open_locks(folder: Path | None = None) -> Callable[[str], FileLock]:
    """A function that gives the lock of a name for all runs of this user, to be held with `with`."""
    locks = _private((folder or home()) / "locks")

    def lock(name: str) -> FileLock:
        return FileLock(locks / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock")

    return lock


def _read_owner(folder: Path) -> str | None:
    try:
        return (folder / "owner").read_text() if folder.stat().st_uid == os.getuid() else None
    except OSError:
        return None  # another user's, or removed by its own run at this moment


def _private(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def _lease(record: dict[str, Any]) -> Lease:
    amounts = {name: Resources(**record[name]) for name in ("room", "claim")}
    return Lease(**{**record, **amounts})


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside it and rename: a reader sees the old content or the new one, never a part."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    os.replace(temporary, path)
