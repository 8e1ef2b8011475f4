"""What reading Compose files needs of the machine that they lie on."""

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
        """A file's text; OSError or UnicodeDecodeError where it cannot be read."""

    def kind_of(self, path: str) -> str:
        """`file`, `folder`, `other` (a socket, a device), `closed` (not to be read), or an empty text for nothing."""


class Request(Struct, frozen=True, kw_only=True):
    """What a user asks of Compose files. `files` are absolute; the folder of the first one is the project's.

    Of services that are named only these are wanted, whatever their profiles, and what they need.
    """

    files: tuple[str, ...]
    env: Mapping[str, str]
    env_files: tuple[str, ...] | None = None
    profiles: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
