"""Machine that Compose files lie on, as far as reading them needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class Host(Protocol):
    """Files, and the environment that the run was started in."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment variables."""

    def read_text(self, path: str) -> str:
        """Return a file's text; OSError, UnfitFile or UnicodeDecodeError where it cannot be read."""

    def kind_of(self, path: str) -> str:
        """Return `file`, `folder`, `other` (a socket, a device), `closed` (not readable), or `` for nothing."""


class Request(Struct, frozen=True, kw_only=True):
    """Wishes of a user for Compose files. `files` are absolute; the folder of the first one is the project's.

    Of services that are named only these are wanted, whatever their profiles, and what they need. `allowed` are the
    permissions that the user gives.
    """

    files: tuple[str, ...]
    env: Mapping[str, str]
    env_files: tuple[str, ...] | None = None
    profiles: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
