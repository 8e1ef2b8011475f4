"""Whose the objects on the engine are, and which container a name means."""

from __future__ import annotations

import pytest

from pytest_isolate.cli.find_container import all_named, completions, find_container
from pytest_isolate.cli.ps import run_facts, run_lines
from pytest_isolate.engine.api import Labelled
from pytest_isolate.engine.docker.command_engine import container_facts
from pytest_isolate.errors import IsolateError
from pytest_isolate.model.identity import LABEL_OWNER, LABEL_PROJECT, LABEL_REUSE, LABEL_RUN, LABEL_USER, Owner, Run
from pytest_isolate.model.service import ServiceId, StackId
from pytest_isolate.running.ownership.runs import ALIVE, DEAD, KEPT, UNKNOWN, UP, group_runs, is_project_of
from pytest_isolate.sharing.owners import Verdict

OWNER = Owner(host="0815/box", boot="boot", pid_namespace="pid:[1]", pid=42, start_time="7")
LIVES = Verdict(False, "its owner, process 42, is running", is_alive=True)
GONE = Verdict(True, "its owner, process 42, is gone")
FAR = Verdict(False, "its owner runs on another host")
STAYS = Verdict(False, "started by pytest-isolate up, until pytest-isolate down")


def container(
    run: str,
    service: str,
    *,
    stack: str = "",
    reuse: str = "",
    project: str = "/home/ann/shop",
    alternatives: str = "",
) -> Labelled:
    extra = ((LABEL_USER, "ann"), (LABEL_PROJECT, project), *(((LABEL_REUSE, reuse),) if reuse else ()))
    owner = Run(run_id=run, owner=OWNER, secret=b"", extra_labels=extra)
    labels = owner.container_labels(ServiceId(StackId("", stack), service), "f", "i", alternatives)
    name = f"isolate-{run}-{stack}-{service}{alternatives.strip('[]')}"
    return Labelled(kind="container", object_id=f"{run}{stack}{service}0", name=name, labels=labels)


def network(run: str) -> Labelled:
    labels = {LABEL_RUN: run, LABEL_OWNER: OWNER.encode()}
    return Labelled(kind="network", object_id=f"net{run}", name=f"isolate-{run}-net", labels=labels)


RUNS = group_runs(
    [
        (container("aaaa", "db"), GONE),
        (network("bbbb"), LIVES),
        (container("bbbb", "web"), LIVES),
        (container("bbbb", "db", stack="hr"), LIVES),
        (network("bbbb"), LIVES),
        (container("up-1", "db", reuse="up-1"), STAYS),
        (container("up-2", "db", reuse="up-2", project="/home/ann/bank"), STAYS),
        (container("kept-3", "cache", reuse="3"), Verdict(False, "kept, and idle for 3 s (allowed: 9 s)")),
        (container("cccc", "mail"), FAR),
        (container("dddd", "old"), Verdict(False, "kept for a look inside, for 1.0 h more")),
    ]
)
NAMED = all_named(RUNS)


def find(name: str, folder: str = "/elsewhere") -> str:
    return find_container(name, NAMED, folder).found.name


# -- runs -------------------------------------------------------------------------------------------------------------


def test_each_run_is_up_alive_kept_unknown_or_dead() -> None:
    assert [(run.owner.run, run.owner.state) for run in RUNS] == [
        ("up-1", UP),
        ("up-2", UP),
        ("bbbb", ALIVE),
        ("dddd", KEPT),
        ("kept-3", KEPT),
        ("cccc", UNKNOWN),
        ("aaaa", DEAD),
    ]


def test_a_run_says_whose_it_is() -> None:
    whose = next(run.owner for run in RUNS if run.owner.run == "bbbb")
    assert (whose.host, whose.user, whose.pid, whose.project) == ("box", "ann", 42, "/home/ann/shop")


def test_what_outlives_its_process_does_not_name_one() -> None:
    assert RUNS[0].owner.pid is None


def test_what_is_no_container_is_counted() -> None:
    assert [run.others for run in RUNS if run.others] == [{"network": 2}]


def test_labels_that_say_nothing_are_no_error() -> None:
    bare = Labelled(kind="volume", object_id="v", name="v", labels={LABEL_RUN: "eeee"})
    (run,) = group_runs([(bare, Verdict(False, "its owner label cannot be read"))])
    lines = run_lines([run_facts(run, {})])
    assert lines[1:] == ["  its labels do not say whose it is", "  1 volume"]


@pytest.mark.parametrize(
    ("folder", "is_in"),
    [("/a/shop", True), ("/a/shop/tests", True), ("/a/shopping", False), ("/a", False)],
)
def test_a_folder_belongs_to_the_project_around_it(folder: str, is_in: bool) -> None:
    assert is_project_of("/a/shop", folder) == is_in


def test_a_project_with_a_name_is_no_folder() -> None:
    assert not is_project_of("shop", "shop")
    assert is_project_of("/", "/anywhere")


def test_ps_shows_state_and_address_of_each_service() -> None:
    run = next(run for run in RUNS if run.owner.run == "bbbb")
    listed = container_facts(
        {
            "Id": run.containers[1].object_id,
            "Names": ["/x"],
            "Image": "web:1",
            "State": "running",
            "Status": "Up 3 seconds",
            "Ports": [
                {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 40001, "Type": "tcp"},
                {"PrivatePort": 81, "Type": "tcp"},
                {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 20002, "Type": "udp"},
            ],
            "Labels": None,
        }
    )
    facts = run_facts(run, {listed.container_id: listed})
    assert run_lines([facts]) == [
        "run bbbb  alive: its owner, process 42, is running",
        "  host box, user ann, process 42, project /home/ann/shop",
        "  hr.db  gone          -                                                 isolate-bbbb-hr-db",
        "  web    Up 3 seconds  127.0.0.1:40001 -> 80, 127.0.0.1:20002 -> 80/udp  isolate-bbbb--web",
        "  2 networks",
    ]
    assert facts["containers"][1]["addresses"] == {
        "80": "127.0.0.1:40001",
        "80/udp": "127.0.0.1:20002",
    }


def test_ps_says_when_there_is_nothing() -> None:
    assert run_lines([]) == ["nothing of ours is on the engine"]


OLD_AND_NEW = group_runs(
    [
        (container("aaaa", "db", alternatives="[new]"), LIVES),
        (container("aaaa", "db", alternatives="[old]"), LIVES),
        (container("aaaa", "web", alternatives="[db=old]"), LIVES),
    ]
)


def test_ps_tells_alternatives_of_a_service_apart() -> None:
    facts = run_facts(OLD_AND_NEW[0], {})
    assert [line.split()[0] for line in run_lines([facts])[2:]] == ["db[new]", "db[old]", "web[db=old]"]
    assert [(c["service"], c["alternatives"]) for c in facts["containers"]] == [
        ("db", "[new]"),
        ("db", "[old]"),
        ("web", "[db=old]"),
    ]


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_service_is_found_by_its_name_and_by_that_of_its_stack() -> None:
    assert find("web") == "isolate-bbbb--web"
    assert find("hr.db") == "isolate-bbbb-hr-db"


def test_a_containers_name_or_the_beginning_of_its_id_says_it_all() -> None:
    assert find("isolate-aaaa--db") == "isolate-aaaa--db"
    assert find("aaaadb") == "isolate-aaaa--db"


def test_a_name_means_this_folders_project_first_and_what_is_up_there() -> None:
    assert find("db", "/home/ann/shop/tests") == "isolate-up-1--db"
    assert find("db", "/home/ann/bank") == "isolate-up-2--db"


def test_a_name_that_could_be_several_is_refused_with_all_of_them() -> None:
    with pytest.raises(IsolateError, match="'db' could be any of 2 containers") as caught:
        find("db")
    assert "isolate-up-1--db  db of run up-1 (up)" in str(caught.value)
    assert "isolate-up-2--db" in str(caught.value)


def test_a_dead_run_is_meant_only_where_no_other_has_the_name() -> None:
    twins = all_named(group_runs([(container("aaaa", "db"), GONE), (container("bbbb", "db"), LIVES)]))
    assert find_container("db", twins, "/").found.name == "isolate-bbbb--db"


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    with pytest.raises(IsolateError, match="no container of ours is called 'maill', did you mean 'mail'"):
        find("maill")
    with pytest.raises(IsolateError, match="nothing of ours runs on the engine"):
        find_container("db", [], "/")


def test_names_complete_from_services_and_containers() -> None:
    words = [word for word, _ in completions(NAMED)]
    assert words[:3] == ["cache", "db", "hr.db"]
    assert "isolate-aaaa--db" in words
    assert len(words) == len(set(words))


def test_a_service_of_a_stack_is_found_by_its_plain_name_too() -> None:
    only = [named for named in NAMED if named.service == "hr.db"]
    assert find_container("db", only, "/").found.name == "isolate-bbbb-hr-db"


def test_an_alternative_is_found_by_its_words_and_one_alone_by_its_service() -> None:
    named = all_named(OLD_AND_NEW)
    assert find_container("db[old]", named, "/").found.name == "isolate-aaaa--dbold"
    assert find_container("web", named, "/").found.name == "isolate-aaaa--webdb=old"
    with pytest.raises(IsolateError, match="'db' could be any of 2 containers") as caught:
        find_container("db", named, "/")
    assert "isolate-aaaa--dbnew  db[new] of run aaaa (alive)" in str(caught.value)
