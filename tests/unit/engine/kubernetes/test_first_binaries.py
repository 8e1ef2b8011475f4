"""The binaries that are shipped, and the source that they were built from."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from pytest_isolate.engine import kubernetes

FOLDER = Path(kubernetes.__file__).parent / "first_process"
MOST_BYTES = 60_000  # two of them and a program's words have to fit into Secrets of a mebibyte each, with room
ELF_MACHINES = {"amd64": 62, "arm64": 183}


def recorded() -> dict[str, str]:
    lines = [line for line in (FOLDER / "digests.txt").read_text().splitlines() if not line.startswith("#")]
    return {name: digest for digest, name in (line.split() for line in lines)}


@pytest.mark.parametrize("name", ["first.c", "first-amd64", "first-arm64"])
def test_what_is_shipped_is_what_was_built_from_this_source(name: str) -> None:
    found = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    assert recorded()[name] == found, "run `make first-process`, and commit what it built"


@pytest.mark.parametrize("machine", ["amd64", "arm64"])
def test_binaries_are_static_and_small_and_for_their_machine(machine: str) -> None:
    content = (FOLDER / f"first-{machine}").read_bytes()
    assert content[:4] == b"\x7fELF"
    assert struct.unpack_from("<H", content, 18) == (ELF_MACHINES[machine],)
    assert b"/lib/ld-" not in content
    assert len(content) < MOST_BYTES
