"""Only the provably dead are taken for dead."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from pytest_isolate.model.identity import Owner
from pytest_isolate.sharing.owners import judge

HERE = Owner(host="machine/name", boot="boot-1", pid_namespace="pid:[1]", pid=1, start_time="10")
OWNER = replace(HERE, pid=42, start_time="77")


def running(**processes: str) -> Callable[[int], str | None]:
    """A process table: `p42="77"` is process 42, started at 77."""
    return lambda pid: processes.get(f"p{pid}")


def never_asked(pid: int) -> str | None:
    raise AssertionError(f"process {pid} says nothing about this owner")


def test_owner_that_runs_is_alive() -> None:
    verdict = judge(OWNER, HERE, running(p42="77"))

    assert not verdict.is_dead
    assert verdict.reason == "its owner, process 42, is running"


def test_owner_whose_process_is_gone_is_dead() -> None:
    verdict = judge(OWNER, HERE, running(p41="77"))

    assert verdict.is_dead
    assert verdict.reason == "its owner, process 42, is gone"


def test_reused_process_id_is_not_taken_for_the_owner() -> None:
    verdict = judge(OWNER, HERE, running(p42="78"))

    assert verdict.is_dead
    assert verdict.reason == "its owner is gone: process 42 is another one now"


def test_process_with_a_reused_id_is_never_taken_for_dead_itself() -> None:
    """The new process 42 owns things too: those of the old one go, its own stay."""
    successor = replace(OWNER, start_time="78")

    assert judge(OWNER, HERE, running(p42="78")).is_dead
    assert not judge(successor, HERE, running(p42="78")).is_dead


def test_owner_of_an_earlier_boot_is_dead_whatever_runs_now() -> None:
    verdict = judge(replace(OWNER, boot="boot-0"), HERE, never_asked)

    assert verdict.is_dead
    assert "started again" in verdict.reason


def test_owner_in_another_pid_namespace_is_never_taken_for_dead() -> None:
    verdict = judge(replace(OWNER, pid_namespace="pid:[2]"), HERE, running())

    assert not verdict.is_dead
    assert "another pid namespace" in verdict.reason


def test_owner_on_another_host_is_never_taken_for_dead() -> None:
    other = replace(OWNER, host="other/name", boot="boot-9", pid_namespace="pid:[9]")
    verdict = judge(other, HERE, running())

    assert not verdict.is_dead
    assert "another host" in verdict.reason


@pytest.mark.parametrize("side", ["owner", "here"])
@pytest.mark.parametrize("unknown", ["host", "boot", "pid_namespace"])
def test_what_is_not_known_is_no_proof(unknown: str, side: str) -> None:
    owner, here = OWNER, HERE
    if side == "owner":
        owner = replace(owner, **{unknown: ""})
    else:
        here = replace(here, **{unknown: ""})

    assert not judge(owner, here, running()).is_dead


@pytest.mark.parametrize("unknown", ["host", "boot", "pid_namespace"])
def test_two_owners_of_whom_the_same_is_unknown_are_not_taken_for_neighbours(unknown: str) -> None:
    owner, here = (replace(o, **{unknown: ""}) for o in (OWNER, HERE))

    assert not judge(owner, here, running()).is_dead


def test_label_that_cannot_be_read_is_no_proof() -> None:
    verdict = judge(None, HERE, never_asked)

    assert not verdict.is_dead
    assert "cannot be read" in verdict.reason


words = st.sampled_from(["", "a", "b"])
owners = st.builds(Owner, host=words, boot=words, pid_namespace=words, pid=st.integers(1, 3), start_time=words)


@given(owners, owners, st.dictionaries(st.integers(1, 3), words))
def test_nobody_is_dead_without_proof(owner: Owner, here: Owner, processes: dict[int, str]) -> None:
    if not judge(owner, here, processes.get).is_dead:
        return

    assert owner.host == here.host != ""
    assert owner.boot
    assert here.boot
    if owner.boot == here.boot:
        assert owner.pid_namespace == here.pid_namespace != ""
        assert processes.get(owner.pid) != owner.start_time


def test_every_fact_about_an_owner_is_looked_at() -> None:
    assert {f.name for f in fields(Owner)} == {"host", "boot", "pid_namespace", "pid", "start_time"}
