"""A container of testcontainers as the base of a service: what is known of it without any engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec import Struct


class Refusal(NamedTuple):
    """A setting of a module that cannot be honoured, and what to do about it."""

    reason: str
    do: str


class DryRun(Struct, frozen=True, kw_only=True):
    """The container of a module in the keys of `service()`, and what of it cannot be honoured.

    `has_wait` says whether it brings a wait of its own along.
    """

    values: Mapping[str, object] = {}
    refusals: tuple[Refusal, ...] = ()
    has_wait: bool = False


@runtime_checkable
class Module(Protocol):
    """A container of testcontainers, or what makes one, as it was declared. `str()` of it is for people."""

    @property
    def name(self) -> str:
        """The name of its class, or of what makes it."""

    def rehearse(self) -> DryRun:
        """Find out what it starts. Asked for again, the answer is the same one."""
