"""This machine's engine from within a container that has its socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Place
from .trying import try_a_project, try_a_run_that_is_killed, try_contract_suite

pytestmark = pytest.mark.engine


def test_contract_suite(from_within: Place, tmp_path: Path) -> None:
    try_contract_suite(from_within, tmp_path)


def test_a_project(from_within: Place, tmp_path: Path) -> None:
    """Trap 23."""
    try_a_project(from_within, tmp_path)


def test_a_run_that_is_killed_leaves_nothing(from_within: Place, tmp_path: Path) -> None:
    try_a_run_that_is_killed(from_within, tmp_path)
