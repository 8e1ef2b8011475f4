"""What is kept for the next run: who uses it, and when it has to go."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from pytest_isolate.engine.api import Labelled
from pytest_isolate.model.identity import LABEL_INSTANCE, LABEL_PROJECT, LABEL_REUSE, LABEL_RUN, Owner
from pytest_isolate.running.ownership.reuse import ReuseStore, is_manual, manual_code, project_code

HERE = Owner(host="host", boot="boot", pid_namespace="pid:[1]", pid=1, start_time="1")
USER = replace(HERE, pid=42, start_time="77")


class Bench:
    """A project's keep at a moment, and the processes of that moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.processes: dict[int, str] = {}
        self.removed: list[str] = []

    @property
    def keep(self) -> ReuseStore:
        return ReuseStore(self.folder, lambda: self.now)

    def start(self, user: Owner = USER, idle_s: float = 60) -> None:
        self.processes[user.pid] = user.start_time
        self.keep.join(user, idle_s)

    def use(self, code: str) -> None:
        self.keep.board.mark_started(code)
        self.keep.board.publish(code, {"container": code, "used": self.now})

    def end(self, *used: str, user: Owner = USER) -> None:
        self.keep.leave(user, used)
        del self.processes[user.pid]

    def is_dead(self, found: Labelled) -> bool:
        return self.keep.judge(found, HERE, self.processes.get).is_dead

    def reason(self, found: Labelled) -> str:
        return self.keep.judge(found, HERE, self.processes.get).reason

    def expire(self, *found: Labelled) -> list[str]:
        def remove(dead: Sequence[Labelled]) -> None:
            self.removed += [item.object_id for item in dead]

        self.keep.expire(found, HERE, self.processes.get, remove)
        return self.removed


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "kept" / "project")


def container(code: str) -> Labelled:
    labels = {LABEL_RUN: "kept-project", LABEL_REUSE: "project", LABEL_INSTANCE: code}
    return Labelled(kind="container", object_id=code, name=code, labels=labels)


NETWORK = Labelled(kind="network", object_id="net", name="net", labels={LABEL_REUSE: "project"})
VOLUME = Labelled(kind="volume", object_id="vol", name="vol", labels={LABEL_REUSE: "project"})


def test_what_a_running_process_uses_stays(bench: Bench) -> None:
    bench.start(idle_s=0)
    bench.use("db")
    bench.now += 1e6

    assert not bench.is_dead(container("db"))
    assert "in use" in bench.reason(container("db"))
    assert bench.expire(container("db"), NETWORK) == []


def test_idle_time_begins_when_the_run_ends(bench: Bench) -> None:
    bench.start(idle_s=60)
    bench.use("db")
    bench.now += 1000
    bench.end("db")

    bench.now += 59
    assert not bench.is_dead(container("db"))
    bench.now += 1
    assert bench.is_dead(container("db"))
    assert (
        bench.reason(container("db")) == "kept, and idle for 60 s (allowed: 60 s; pytest-isolate remove kept-project)"
    )


def test_what_the_run_did_not_use_has_been_idle_since_its_last_use(bench: Bench) -> None:
    bench.start(idle_s=60)
    bench.use("old")
    bench.end("old")
    bench.now += 50
    bench.start(idle_s=60)
    bench.use("new")
    bench.now += 10
    bench.end("new")

    assert bench.is_dead(container("old"))
    assert not bench.is_dead(container("new"))
    assert bench.expire(container("old"), container("new"), NETWORK) == ["old"]


def test_a_run_that_was_killed_keeps_nothing_in_use(bench: Bench) -> None:
    bench.start(idle_s=60)
    bench.use("db")
    bench.processes.clear()

    assert not bench.is_dead(container("db"))
    bench.now += 60
    assert bench.is_dead(container("db"))


def test_one_of_two_runs_that_ends_leaves_it_in_use(bench: Bench) -> None:
    other = replace(USER, pid=43)
    bench.start(idle_s=0)
    bench.start(other, idle_s=0)
    bench.use("db")
    bench.end("db")
    assert not bench.is_dead(container("db"))

    bench.end("db", user=other)
    assert bench.is_dead(container("db"))


def test_a_user_that_cannot_be_seen_from_here_still_uses_it(bench: Bench) -> None:
    bench.start(replace(USER, pid_namespace="pid:[2]"), idle_s=0)
    bench.use("db")
    bench.processes.clear()

    assert not bench.is_dead(container("db"))


def test_a_container_that_nobody_knows_goes(bench: Bench) -> None:
    """Whoever made it died before it was published: nobody will ever use it."""
    bench.start()
    bench.end()

    assert bench.is_dead(container("half-made"))
    assert bench.expire(container("half-made")) == ["half-made"]


def test_networks_and_volumes_go_with_the_last_container(bench: Bench) -> None:
    bench.start(idle_s=60)
    bench.use("a")
    bench.end("a")
    bench.now += 30
    bench.start(idle_s=60)
    bench.use("b")
    bench.end("b")

    bench.now += 30
    assert bench.expire(container("a"), container("b"), NETWORK, VOLUME) == ["a"]
    bench.now += 30
    assert bench.expire(container("b"), NETWORK, VOLUME) == ["a", "b", "net", "vol"]


def test_network_of_a_run_that_has_no_container_yet_stays(bench: Bench) -> None:
    """A sweep may look at the moment between the two."""
    bench.start(idle_s=0)
    bench.keep.board.mark_started("network default")

    assert bench.expire(NETWORK, VOLUME) == []
    assert bench.keep.board.was_started("network default")


def test_network_that_got_its_first_container_after_the_look_stays(bench: Bench) -> None:
    bench.start(idle_s=60)
    bench.use("db")
    bench.end("db")

    assert bench.expire(NETWORK, VOLUME) == []
    assert bench.keep.board.read("db") is not None


def test_the_next_run_finds_nothing_of_what_has_expired(bench: Bench) -> None:
    bench.start(idle_s=0)
    bench.use("db")
    bench.end("db")
    bench.expire(container("db"), NETWORK)

    assert bench.keep.board.read("db") is None
    assert not bench.keep.board.was_started("db")


def test_what_is_kept_goes_when_somebody_says_so_however_short_it_was_idle(bench: Bench) -> None:
    bench.start()
    bench.use("db")
    bench.end("db")
    assert f"pytest-isolate remove {bench.keep.run(HERE).run_id}" in bench.reason(container("db"))
    bench.keep.discard(HERE, bench.processes.get, lambda: bench.removed.append("all"))
    assert bench.removed == ["all"]
    assert bench.keep.board.read("db") is None


def test_what_a_run_uses_does_not_go_when_somebody_says_so(bench: Bench) -> None:
    bench.start()
    bench.use("db")
    assert "in use" in bench.keep.judge_discarded(HERE, bench.processes.get).reason
    bench.keep.discard(HERE, bench.processes.get, lambda: bench.removed.append("all"))
    assert bench.removed == []
    assert bench.keep.board.read("db") is not None


def test_runs_that_were_killed_do_not_pile_up(bench: Bench) -> None:
    bench.start(replace(USER, pid=41))
    bench.processes.clear()
    bench.start()
    bench.expire(container("db"))

    assert bench.keep.board.read("users") == {"users": [USER.encode()], "idle_s": 60}


# -- the project, its run and its secret ------------------------------------------------------------------------------


def test_two_clones_are_two_projects() -> None:
    assert project_code("/home/a/project") != project_code("/home/b/project")
    assert project_code("shared name") == project_code("shared name")


def test_passwords_are_the_same_in_every_run_of_the_project(bench: Bench) -> None:
    one, other = bench.keep.run(USER), bench.keep.run(replace(USER, pid=43))

    assert one.run_id == other.run_id == "kept-project"
    assert one.password("db") == other.password("db")


def test_projects_have_passwords_of_their_own(bench: Bench, tmp_path: Path) -> None:
    other = ReuseStore(tmp_path / "kept" / "other", lambda: 0.0)

    assert bench.keep.run(USER).password("db") != other.run(USER).password("db")


def test_what_is_kept_says_so_in_its_labels(bench: Bench) -> None:
    labels = bench.keep.run(USER).labels()

    assert labels[LABEL_REUSE] == "project"
    assert labels[LABEL_RUN] == "kept-project"


def test_the_secret_is_for_this_user_only(bench: Bench) -> None:
    old = os.umask(0)
    try:
        run = bench.keep.run(USER)
    finally:
        os.umask(old)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (bench.folder, bench.folder / "secret")}

    assert modes == {"project": 0o700, "secret": 0o600}
    assert run.secret.hex() in (bench.folder / "secret").read_text()
    assert len(run.secret) >= 32


def test_no_file_but_the_secret_holds_a_password(bench: Bench) -> None:
    bench.start()
    run = bench.keep.run(USER)
    bench.use("db")
    bench.end("db")
    texts = [p.read_text() for p in bench.folder.iterdir() if p.name != "secret"]

    assert texts
    assert not any(run.secret.hex() in text or run.password("db") in text for text in texts)


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_what_was_started_by_hand_stays_until_it_is_taken_down(tmp_path: Path) -> None:
    folder = tmp_path / manual_code("/home/ann/shop")
    keep = ReuseStore(folder, lambda: 1e12, ((LABEL_PROJECT, "/home/ann/shop"),))
    run = keep.run(HERE)
    assert run.run_id == folder.name
    assert run.labels()[LABEL_PROJECT] == "/home/ann/shop"
    item = Labelled(kind="container", object_id="c", name="c", labels=run.labels() | {LABEL_INSTANCE: "c"})
    assert not keep.judge(item, HERE, {}.get).is_dead
    assert "pytest-isolate down" in keep.judge(item, HERE, {}.get).reason


def test_runs_and_hands_do_not_share_what_they_keep() -> None:
    assert manual_code("shop") != project_code("shop")
    assert is_manual(manual_code("shop"))
    assert not is_manual(project_code("shop"))


def test_clearing_forgets_what_was_kept_once_it_is_removed(tmp_path: Path) -> None:
    keep = ReuseStore(tmp_path / "up-1", lambda: 0)
    keep.board.publish("web", {"container": "c"})
    seen = []
    keep.clear(lambda: seen.append(keep.board.read("web")))
    assert seen == [{"container": "c"}]
    assert keep.board.records() == []


def test_who_is_alone_does_not_wait_for_users_that_nobody_can_see(tmp_path: Path) -> None:
    keep = ReuseStore(tmp_path / "up-1", lambda: 0)
    keep.join(replace(USER, host="elsewhere"), 60)
    keep.board.publish("old", {"code": "old", "service": "web"})
    assert not keep.evict_other_versions("web", "new", HERE, {}.get, lambda _: None)
    keep.enter_alone(HERE)
    assert keep.evict_other_versions("web", "new", HERE, {}.get, lambda _: None)
