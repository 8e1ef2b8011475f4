"""What can be answered when a service is asked whether it is ready."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """The service answers."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """The service does not answer yet; `reason` is what was seen."""

    reason: str


@dataclass(frozen=True, slots=True)
class Dead:
    """The service will never answer; `reason` is what was seen."""

    reason: str


Answer = Ready | NotYet | Dead
