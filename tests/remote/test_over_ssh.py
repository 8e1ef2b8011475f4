"""This machine's engine through an ssh server of its own on the loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Place
from .trying import try_a_project, try_a_run_that_is_killed, try_buildkit, try_contract_suite

pytestmark = pytest.mark.engine


def test_contract_suite(over_ssh: Place, tmp_path: Path) -> None:
    try_contract_suite(over_ssh, tmp_path)


def test_a_project(over_ssh: Place, tmp_path: Path) -> None:
    """Trap 23."""
    try_a_project(over_ssh, tmp_path)


def test_a_run_that_is_killed_leaves_nothing(over_ssh: Place, tmp_path: Path) -> None:
    try_a_run_that_is_killed(over_ssh, tmp_path)


def test_builds_that_need_buildkit(over_ssh: Place, tmp_path: Path) -> None:
    try_buildkit(over_ssh, tmp_path)
