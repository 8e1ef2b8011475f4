"""Amounts of memory and containers."""

from __future__ import annotations

import pytest

from pytest_isolate.model.resources import Resources
from pytest_isolate.model.service import MIB

SOME = Resources(memory_bytes=100 * MIB, containers=3)
OTHER = Resources(memory_bytes=200 * MIB, containers=1)


def test_two_amounts_together_and_enough_for_either() -> None:
    assert Resources(memory_bytes=300 * MIB, containers=4) == SOME + OTHER
    assert Resources(memory_bytes=200 * MIB, containers=3) == SOME | OTHER


@pytest.mark.parametrize(
    ("memory", "containers", "fits"), [(100, 3, True), (101, 3, False), (100, 4, False), (0, 0, True)]
)
def test_both_have_to_fit(memory: int, containers: int, fits: bool) -> None:
    assert Resources(memory_bytes=memory * MIB, containers=containers).fits(SOME) is fits


def test_an_amount_is_told_in_words() -> None:
    assert str(SOME) == "100 MiB and 3 containers"
