"""Environments in which the package lacks what another system has not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LACKING = Path(__file__).parent / "lacking"
SYSTEMS = ("macos", "windows")


def lack(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away from the processes that this one starts what a system lacks."""
    monkeypatch.setenv("LACKS", system)
    monkeypatch.setenv("PYTHONPATH", str(LACKING), prepend=os.pathsep)
    if system == "windows":
        # Python there takes the text of a file for that of an old code page where it is told nothing.
        monkeypatch.setenv("LC_ALL", "C")
        monkeypatch.setenv("PYTHONUTF8", "0")
        monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
