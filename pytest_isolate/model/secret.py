"""A value that nobody chooses."""

from __future__ import annotations

from enum import Enum


class Secret(Enum):
    """Stands for a value that is made anew for each run."""

    RANDOM = "random"
