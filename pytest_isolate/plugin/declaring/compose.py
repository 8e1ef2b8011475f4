"""Compose files that fixtures name, read once in a run; what is noted about them becomes a warning of pytest's."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

import pytest

from pytest_isolate.compose_files.stack import compose_stack
from pytest_isolate.errors import IsolateWarning, Problem
from pytest_isolate.model.declaration import RawCompose, RawStack
from pytest_isolate.user_files import MOST_TEXT_BYTES, read_bytes

_READ: pytest.StashKey[dict[int, tuple[RawCompose, RawStack]]] = pytest.StashKey()


class LocalHost:
    """The files of this machine, and the environment of this process."""

    @property
    def environ(self) -> Mapping[str, str]:
        """Environment variables as they are now."""
        return os.environ

    def read_text(self, path: str) -> str:
        """Return the text of a regular file that is not too large."""
        return read_bytes(path, MOST_TEXT_BYTES).decode("utf-8-sig")

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
