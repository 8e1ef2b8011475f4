"""What earlier runs have left: found, judged and removed on the fake engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.programs import IMAGE, forever
from msgspec.structs import replace

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.errors import CleanupError, EngineError
from pytest_isolate.model.identity import LABEL_RUN, Owner, Run
from pytest_isolate.running.cleanup.sweep import Sweep
from pytest_isolate.running.images.snapshots import _create_folder
from pytest_isolate.running.ownership.reuse import ReuseStore
from pytest_isolate.sharing.folders import (
    Usage,
    create_run_folder,
    process_folder,
    remove_dead_folders,
    remove_run_folder,
)
from pytest_isolate.sharing.owners import read_owner
from unit.builders import sid

ME = read_owner()
GONE = replace(ME, start_time="not mine")
"""This process's id, but another start time: an owner that is provably dead."""
FOREIGN = replace(ME, host="elsewhere", start_time="not mine")


class Bench:
    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine()
        self.kept = folder / "kept"
        self.now = 1000.0

    @property
    def sweep(self) -> Sweep:
        return Sweep(self.engine, ME, self.kept, Usage(self.kept.parent / "usage"), lambda: self.now)

    def make(self, run: Run, code: str = "code") -> None:
        """A container that runs, with a volume and a network."""
        volume = run.resource_name("volume")
        self.engine.create_volume(volume, run.labels())
        network = self.engine.create_network(run.resource_name("net"), run.labels())
        request = ContainerRequest(
            name=run.resource_name(code),
            image=IMAGE,
            labels=run.container_labels(sid("db"), "f00", code),
            command=forever(),
            network=network,
            volumes={volume: "/data"},
        )
        self.engine.start_container(self.engine.create_container(request))

    def fates(self, own_run: str = "") -> dict[str, bool]:
        return {j.found.name: j.verdict.is_dead for j in self.sweep.judge_for(own_run)}

    def run(self, own_run: str = "") -> list[str]:
        return [item.name for item in self.sweep.remove(self.sweep.judge_for(own_run))]

    @property
    def names(self) -> set[str]:
        return {item.name for item in self.engine.find_labelled(LABEL_RUN)}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    bench = Bench(tmp_path)
    yield bench
    bench.engine.close()


def make_run(owner: Owner, run_id: str = "abcd") -> Run:
    return Run(run_id=run_id, owner=owner, secret=b"secret")


def test_everything_of_a_dead_run_goes(bench: Bench) -> None:
    bench.make(make_run(GONE))

    assert len(bench.run()) == 3
    assert bench.names == set()


@pytest.mark.parametrize(
    "owner",
    [
        ME,
        FOREIGN,
        replace(GONE, pid_namespace="pid:[9]"),
        replace(GONE, boot=""),
        replace(GONE, host=""),
        replace(GONE, pid_namespace=""),
    ],
    ids=["alive", "other host", "other pid namespace", "unknown boot", "unknown host", "unknown namespace"],
)
def test_everything_of_a_run_that_may_be_alive_stays(bench: Bench, owner: Owner) -> None:
    bench.make(make_run(owner))

    assert bench.run() == []
    assert len(bench.names) == 3


def test_what_was_left_before_a_reboot_goes(bench: Bench) -> None:
    bench.make(make_run(replace(ME, boot="an earlier one")))

    bench.run()

    assert bench.names == set()


def test_dead_and_living_runs_are_told_apart(bench: Bench) -> None:
    bench.make(make_run(GONE, "dead"))
    bench.make(make_run(ME, "live"))

    bench.run()

    assert bench.names == {"isolate-live-code", "isolate-live-net", "isolate-live-volume"}


def test_what_does_not_carry_our_labels_is_not_even_looked_at(bench: Bench) -> None:
    bench.engine.create_volume("isolate-abcd-volume", {"pytest-isolate": "1", "com.example.run": "abcd"})

    assert bench.run() == []
    assert "isolate-abcd-volume" in bench.engine.volumes


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"pid": 1}', "[1]", "null"])
def test_owner_label_that_cannot_be_read_is_no_proof(bench: Bench, text: str) -> None:
    bench.engine.create_volume("odd", {LABEL_RUN: "abcd", "pytest-isolate.owner": text})

    assert bench.run() == []
    assert bench.sweep.judge()[0].verdict.reason == "its owner label cannot be read"


def test_own_run_is_left_out(bench: Bench) -> None:
    bench.make(make_run(GONE, "own"))

    assert bench.fates(own_run="own") == {}


def test_containers_come_before_what_they_use(bench: Bench) -> None:
    bench.make(make_run(GONE))

    assert [j.found.kind for j in bench.sweep.judge()] == ["container", "volume", "network"]


def test_judging_removes_nothing(bench: Bench) -> None:
    bench.make(make_run(GONE))

    assert all(bench.fates().values())
    assert len(bench.names) == 3


def test_an_object_that_cannot_be_removed_does_not_keep_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.make(make_run(GONE, "one"))
    bench.make(make_run(GONE, "two"))
    remove = bench.engine.remove_network

    def refuse(network_id: str) -> None:
        if bench.engine.networks[network_id].name == "isolate-one-net":
            raise EngineError("network could not be removed", found="it is stuck")
        remove(network_id)

    monkeypatch.setattr(bench.engine, "remove_network", refuse)

    with pytest.raises(CleanupError) as caught:
        bench.run()

    assert "it is stuck" in str(caught.value)
    assert "pytest-isolate gc tries again" in str(caught.value)
    assert bench.names == {"isolate-one-net"}


def test_object_that_goes_meanwhile_is_no_error(bench: Bench) -> None:
    """Two sweeps at once, or the run's own guardian."""
    bench.make(make_run(GONE))
    judged = bench.sweep.judge()
    bench.run()

    assert len(bench.sweep.remove(judged)) == 3


def test_folders_of_dead_runs_go_and_those_of_living_ones_stay(bench: Bench) -> None:
    dead = create_run_folder("dead", GONE.encode())
    live = create_run_folder("live", ME.encode())
    odd = create_run_folder("odd", "no owner at all")

    bench.run()

    assert [folder.exists() for folder in (dead, live, odd)] == [False, True, True]


@pytest.mark.parametrize("purpose", ["snapshot", "ask"])
def test_folders_of_one_process_go_when_it_is_dead(bench: Bench, purpose: str) -> None:
    dead, live = create_run_folder(purpose, GONE.encode()), create_run_folder(purpose, ME.encode())

    bench.run()

    assert [folder.exists() for folder in (dead, live)] == [False, True]


@pytest.mark.parametrize("what", ["snapshot", "ask"])
def test_folders_name_the_process_that_made_them(what: str) -> None:
    with process_folder("ask") if what == "ask" else nullcontext(_create_folder()) as folder:
        assert folder is not None
        assert (folder / "owner").read_text() == read_owner().encode()
        remove_dead_folders(read_owner())
        assert folder.is_dir()
        remove_run_folder(folder)


def test_run_looks_for_snapshots_from_time_to_time_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """To list images takes an engine long where it has many."""
    looked: list[float] = []
    monkeypatch.setattr(bench.engine, "list_images", lambda label: looked.append(bench.now) or [])
    bench.now = began = time.time()

    for later_s in (0, 60, 3000, 3700):
        bench.now = began + later_s
        bench.run()
    assert looked == [began, began + 3700]

    bench.sweep.judge()  # `pytest-isolate gc` always does
    assert len(looked) == 3


# -- what is kept -----------------------------------------------------------------------------------------------------


def kept_run(bench: Bench, owner: Owner = ME, project: str = "project", idle_s: float = 60) -> ReuseStore:
    keep = ReuseStore(bench.kept / project, lambda: bench.now)
    keep.join(owner, idle_s)
    bench.make(keep.run(owner))
    keep.board.mark_started("code")
    keep.board.publish("code", {"container": "code", "used": bench.now})
    return keep


def test_what_is_kept_stays_although_its_owner_is_dead(bench: Bench) -> None:
    kept_run(bench, GONE)

    assert bench.run() == []
    assert len(bench.names) == 3


def test_what_is_kept_goes_when_it_was_idle_for_too_long(bench: Bench) -> None:
    kept_run(bench, GONE)
    bench.now += 60

    assert len(bench.run()) == 3
    assert bench.names == set()


def test_what_a_living_run_uses_stays_however_long_it_takes(bench: Bench) -> None:
    kept_run(bench, ME)
    bench.now += 1e6

    assert bench.run() == []


def test_what_a_project_keeps_goes_when_somebody_removes_its_run(bench: Bench) -> None:
    run = kept_run(bench, GONE).run(GONE)
    kept_run(bench, GONE, "other")
    judged = bench.sweep.judge_left(run.run_id)

    assert len(bench.sweep.remove(judged, discarding=True)) == 3
    assert {name.split("-")[2] for name in bench.names} == {"other"}
    assert bench.sweep.judge_left(run.run_id) == []


def test_what_a_living_run_uses_stays_when_somebody_removes_it(bench: Bench) -> None:
    run = kept_run(bench, ME).run(ME)
    judged = bench.sweep.judge_left(run.run_id)

    assert {j.verdict.reason.partition(":")[0] for j in judged} == {"kept, and in use"}
    assert bench.sweep.remove(judged, discarding=True) == []
    assert len(bench.names) == 3


def test_a_run_that_begins_before_the_removal_keeps_what_it_uses(bench: Bench) -> None:
    keep = kept_run(bench, GONE)
    judged = bench.sweep.judge_left(keep.run(GONE).run_id)
    keep.join(ME, 60)

    assert bench.sweep.remove(judged, discarding=True) == []
    assert len(bench.names) == 3


def test_what_is_up_is_not_removed_as_what_a_run_has_kept(bench: Bench) -> None:
    run = kept_run(bench, GONE, "up-project").run(GONE)

    assert bench.sweep.judge_left(run.run_id) == []


def test_what_is_kept_by_somebody_unknown_stays(bench: Bench) -> None:
    kept_run(bench, GONE)
    elsewhere = Sweep(bench.engine, ME, bench.kept / "nowhere", Usage(bench.kept.parent / "usage"), lambda: 1e9)

    assert elsewhere.remove(elsewhere.judge()) == []
    assert {j.verdict.reason for j in elsewhere.judge()} == {"kept by another user, or on another machine"}


def test_one_project_s_time_does_not_end_another_s(bench: Bench) -> None:
    kept_run(bench, GONE, "old", idle_s=10)
    kept_run(bench, GONE, "new", idle_s=100)
    bench.now += 10

    bench.run()

    assert {name.split("-")[2] for name in bench.names} == {"new"}


def test_verdict_on_what_is_kept_is_what_removing_does(bench: Bench) -> None:
    """`gc --dry-run` shows the verdicts; networks and volumes must not be told to stay and then go."""
    kept_run(bench, GONE)
    bench.now += 60
    doomed = {name for name, is_dead in bench.fates().items() if is_dead}

    assert set(bench.run()) == doomed
