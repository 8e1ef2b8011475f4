"""Compose files that fixtures name, read once in a run; what is noted about them becomes a warning of pytest's."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_isolate.compose_files.host import MAX_BYTES, TooLarge
from pytest_isolate.compose_files.stack import compose_stack
from pytest_isolate.errors import IsolateWarning, Problem
from pytest_isolate.model.declaration import RawCompose, RawStack

_READ: pytest.StashKey[dict[int, tuple[RawCompose, RawStack]]] = pytest.StashKey()


class LocalHost:
    """The files of this machine, and the environment of this process."""

    @property
    def environ(self) -> Mapping[str, str]:
        """Environment variables as they are now."""
        return os.environ

    def read_text(self, path: str) -> str:
        """Return the text of a regular file that is not too large.

        A pipe would be waited for, and /dev/zero never ends. Files below /proc say that they are empty.
        """
        if Path(path).exists() and not Path(path).is_file():
            raise TooLarge("is not a regular file")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise TooLarge(f"holds more than {MAX_BYTES // 1024**2} MiB")
        return content.decode("utf-8-sig")

    def kind_of(self, path: str) -> str:
        """Return the kind of what is there. A link to nothing counts as nothing, as it does for Docker Compose."""
        if not os.path.exists(path):
            return ""
        if not os.access(path, os.R_OK):
            return "closed"
        return "file" if os.path.isfile(path) else "folder" if os.path.isdir(path) else "other"


def read_compose(raw: RawCompose, config: pytest.Config) -> RawStack:
    """Return the stack of a declaration: the same object each time, so that what is made of it can be kept."""
    known = config.stash.setdefault(_READ, {})
    if id(raw) not in known:
        composed = compose_stack(raw, LocalHost())
        refused = tuple(problem for problem in composed.warnings if not _warn(problem))
        known[id(raw)] = (raw, composed.stack._replace(problems=(*composed.stack.problems, *refused)))
    return known[id(raw)][1]


def _warn(problem: Problem) -> bool:
    """Warn; return false where the user's filters make errors of warnings."""
    file, _, line = problem.place.rpartition(":")
    text = f"{problem.subject}: {problem.reason}"
    try:
        warnings.warn_explicit(text, IsolateWarning, file or problem.place, int(line) if line.isdigit() else 0)
    except IsolateWarning:
        return False
    return True
