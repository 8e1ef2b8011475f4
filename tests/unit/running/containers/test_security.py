"""What a container may do, and what is not printed."""

from __future__ import annotations

import pytest

from pytest_isolate.model.service import ContainerSettings
from pytest_isolate.running.containers.security import COPIES, DEFAULT_CAPABILITIES, capabilities, memory_folders
from pytest_isolate.sharing.owners import read_owner
from pytest_isolate.text import redact
from unit.builders import spec


def test_a_container_has_few_capabilities() -> None:
    assert capabilities(spec()) == DEFAULT_CAPABILITIES
    assert not {"SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "MKNOD"} & set(DEFAULT_CAPABILITIES)


def test_an_image_may_give_up_capabilities_for_good() -> None:
    assert "SETPCAP" in DEFAULT_CAPABILITIES


def test_what_a_declaration_adds_comes_on_top_and_once() -> None:
    assert capabilities(spec(cap_add=("NET_RAW", "CHOWN"))) == (*DEFAULT_CAPABILITIES, "NET_RAW")


def test_what_a_declaration_drops_is_gone_but_what_it_adds_stays() -> None:
    kept = capabilities(spec(container=ContainerSettings(cap_drop=("CHOWN", "KILL"))))
    assert set(DEFAULT_CAPABILITIES) - set(kept) == {"CHOWN", "KILL"}
    assert capabilities(spec(cap_add=("KILL",), container=ContainerSettings(cap_drop=("ALL",)))) == ("KILL",)


def test_all_of_them_are_all_of_them() -> None:
    assert capabilities(spec(cap_add=("NET_RAW", "ALL"))) == ("ALL",)


@pytest.mark.parametrize(
    ("secrets", "shown"),
    [(("s3",), "a *** b *** t0"), (("s3", "t0"), "a *** b *** ***"), (("",), "a s3 b s3 t0"), ((), "a s3 b s3 t0")],
)
def test_passwords_are_taken_out_of_what_is_printed(secrets: tuple[str, ...], shown: str) -> None:
    assert redact("a s3 b s3 t0", secrets) == shown


@pytest.mark.parametrize(
    ("values", "starts_from_snapshot", "is_copied", "expected"),
    [
        ({}, False, True, {"/data": 64}),
        ({}, True, True, {COPIES: 64}),
        ({}, True, False, {}),
        ({"copies": "mariadb"}, True, True, {}),
        ({"in_memory": ()}, True, True, {}),
        ({"memory_bytes": 1 << 28}, True, True, {}),
        ({"memory_bytes": 1 << 28}, False, True, {}),
        ({"volumes": (("all", "/"),)}, False, True, {}),
    ],
)
def test_what_is_in_memory(
    values: dict[str, object], starts_from_snapshot: bool, is_copied: bool, expected: dict[str, int]
) -> None:
    declared = spec(**{"in_memory": ("/data",), "copies": "postgres", **values})
    assert memory_folders(declared, 64, starts_from_snapshot=starts_from_snapshot, is_copied=is_copied) == expected
    assert memory_folders(declared, 0, starts_from_snapshot=starts_from_snapshot, is_copied=is_copied) == {}


def test_a_process_is_the_same_owner_each_time_it_is_asked() -> None:
    owner = read_owner()

    assert owner == read_owner()
    assert all((owner.host, owner.boot, owner.pid, owner.start_time))
