"""Markers of the tests: declared once for the pytest of this machine, once for the one in the tests' containers."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tests_that_run_in_a_container_have_the_same_markers() -> None:
    inside = ConfigParser()
    assert inside.read(ROOT / "tests/remote/inside.ini")
    # A reader of TOML is there from Python 3.11 on.
    block = (ROOT / "pyproject.toml").read_text().partition("\nmarkers = [\n")[2].partition("\n]")[0]
    declared = re.findall(r'^  "(.+)",$', block, re.MULTILINE)
    assert declared
    assert inside["pytest"]["markers"].strip().splitlines() == declared
