"""Amounts of what a budget is made of: memory and containers."""

from __future__ import annotations

from msgspec import Struct

from pytest_isolate.model.service import MIB


class Resources(Struct, frozen=True, kw_only=True):
    """So much memory and so many containers."""

    memory_bytes: int = 0
    containers: int = 0

    def __add__(self, other: Resources) -> Resources:
        """Both together."""
        return Resources(
            memory_bytes=self.memory_bytes + other.memory_bytes, containers=self.containers + other.containers
        )

    def __or__(self, other: Resources) -> Resources:
        """Enough for either."""
        return Resources(
            memory_bytes=max(self.memory_bytes, other.memory_bytes),
            containers=max(self.containers, other.containers),
        )

    def fits(self, budget: Resources) -> bool:
        """True where a budget holds it."""
        return self | budget == budget

    def __str__(self) -> str:
        return f"{self.memory_bytes // MIB} MiB and {self.containers} containers"
