"""Lifetimes of instances: pytest's scopes, ordered narrow to wide."""

from __future__ import annotations

from enum import IntEnum


class Scope(IntEnum):
    """pytest's own scopes; a wider one compares greater."""

    FUNCTION = 1
    CLASS = 2
    MODULE = 3
    PACKAGE = 4
    SESSION = 5

    @property
    def word(self) -> str:
        """pytest's name for it."""
        return self.name.lower()


SCOPES = {scope.word: scope for scope in Scope}
SHARES = ("run", "worker")
