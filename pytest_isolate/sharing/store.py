"""Locks on disk, shared by all runs of this user. The only module that imports filelock."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from filelock import BaseFileLock, FileLock


def cache_folder() -> Path:
    """This user's folder for what outlives a run (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-isolate"


def open_locks(folder: Path | None = None) -> Callable[[str], BaseFileLock]:
    """A function that gives the lock of a name, to be held with `with`. Lock files stay: removing one lets two in."""
    home = folder or cache_folder() / "locks"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)

    def lock(name: str) -> BaseFileLock:
        return FileLock(home / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock")

    return lock
