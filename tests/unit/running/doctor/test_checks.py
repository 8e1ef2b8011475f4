"""What doctor makes of facts that are made up: every verdict, and what it says to do."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from pytest_isolate.engine.command_api import Attempt, EngineReport, SocketFacts
from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.engine.docker.diagnose import name_machine
from pytest_isolate.running.doctor.checks import (
    GIB,
    OK,
    PROBLEM,
    WARNING,
    Facts,
    Finding,
    check_clock,
    check_disk,
    check_engine_pools,
    check_inotify,
    check_limits,
    check_place,
    check_pool,
    check_routes,
    check_version,
    diagnose,
)
from pytest_isolate.running.doctor.host import Disk, Inotify, Route

SOCKET = SocketFacts(path="/var/run/docker.sock", owner="root", group="docker", mode="660", may_use=True)
ANSWERED = Attempt(address="unix:///var/run/docker.sock", named_by="usual socket", answer="", socket=SOCKET)
MISSING = Attempt(address="unix:///run/podman/podman.sock", named_by="usual socket", answer="no such socket")
ENGINE = EngineReport(
    name="Docker",
    version="28.2.1",
    api="1.50",
    address=ANSWERED.address,
    named_by="usual socket",
    is_local=True,
    data_root="/var/lib/docker",
    driver="overlay2",
    is_rootless=False,
    limits_memory=True,
    limits_processes=True,
    subnets=("172.17.0.0/16",),
    pools=(),
    clock_ahead_s=0.0,
    clock_within_s=0.01,
    advice=DockerCommands().doctor_advice(),
)
DISK = Disk(what="engine", path="/var/lib/docker", free_bytes=50 * GIB, size_bytes=100 * GIB)
INOTIFY = Inotify(max_instances=128, max_watches=65536, used_instances=3)
FACTS = Facts(
    attempts=(ANSWERED,),
    engine=ENGINE,
    without_host="",
    user="ann",
    groups=("ann", "docker"),
    pool="10.189.0.0/16",
    routes=(),
    disks=(DISK, replace(DISK, what="temp", path="/tmp")),
    inotify=INOTIFY,
)


def finding(facts: Facts, check: str) -> Finding:
    (found,) = [f for f in diagnose(facts) if f.check == check]
    return found


def without_engine(*attempts: Attempt, **changes: object) -> Facts:
    return replace(FACTS, attempts=attempts, engine=None, **changes)


def test_nothing_is_wrong_where_nothing_is_wrong() -> None:
    findings = diagnose(FACTS)
    assert {f.verdict for f in findings} == {OK}
    assert all(f.do == "" for f in findings)
    checks = ["engine", "rights", "version", "place", "clock", "addresses", "pools", "disk (engine)", "disk (temp)"]
    assert [f.check for f in findings] == [*checks, "inotify"]


def test_every_finding_that_is_not_ok_says_what_to_do() -> None:
    bad = replace(
        ENGINE,
        version="19.3.1",
        is_local=False,
        host="",
        limits_memory=False,
        clock_ahead_s=99.0,
        subnets=("10.189.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    )
    disks = (replace(DISK, free_bytes=0),)
    facts = replace(FACTS, engine=bad, disks=disks, inotify=replace(INOTIFY, used_instances=128))
    wrong = [f for f in diagnose(facts) if f.verdict != OK]
    assert len(wrong) == 8
    assert all(f.do for f in wrong)


# -- the engine -------------------------------------------------------------------------------------------------------


def test_no_engine_is_a_problem_and_names_every_address_with_its_answer() -> None:
    refused = replace(ANSWERED, answer="no such socket", socket=None)
    found = finding(without_engine(refused, MISSING), "engine")
    assert found.verdict == PROBLEM
    assert "unix:///var/run/docker.sock (usual socket): no such socket" in found.found
    assert "unix:///run/podman/podman.sock (usual socket): no such socket" in found.found
    assert "apt-get install docker.io" in found.do


def test_a_wrong_docker_host_is_to_be_unset_where_an_engine_answers_without_it() -> None:
    wrong = Attempt(address="tcp://127.0.0.1:1", named_by="DOCKER_HOST", answer="Connection refused")
    found = finding(without_engine(wrong, without_host="unix:///var/run/docker.sock"), "engine")
    assert "tcp://127.0.0.1:1 (DOCKER_HOST): Connection refused" in found.found
    assert found.do == "unset DOCKER_HOST: without it the engine at unix:///var/run/docker.sock answers"


def test_a_wrong_docker_host_is_to_be_corrected_where_nothing_else_answers() -> None:
    wrong = Attempt(address="tcp://127.0.0.1:1", named_by="DOCKER_HOST", answer="Connection refused")
    assert "correct DOCKER_HOST" in finding(without_engine(wrong), "engine").do


def test_a_wrong_context_is_named_as_such() -> None:
    wrong = Attempt(address="tcp://10.0.0.1:1", named_by="docker context 'lab'", answer="timed out")
    assert "DOCKER_CONTEXT" in finding(without_engine(wrong), "engine").do


def test_no_right_to_the_socket_names_its_owner_the_user_and_the_group_to_join() -> None:
    refused = replace(ANSWERED, answer="Permission denied", socket=replace(SOCKET, may_use=False))
    facts = without_engine(refused, MISSING, user="bob", groups=("bob",))
    found = finding(facts, "rights")
    assert found.verdict == PROBLEM
    assert "belongs to root:docker, mode 660; user bob is in bob" in found.found
    assert "usermod -aG docker bob" in found.do
    assert "see below" in finding(facts, "engine").do


def test_no_right_to_the_socket_that_docker_host_names_is_no_wrong_docker_host() -> None:
    refused = replace(ANSWERED, named_by="DOCKER_HOST", answer="Permission denied")
    refused = replace(refused, socket=replace(SOCKET, may_use=False))
    assert "right to the socket" in finding(without_engine(refused), "engine").do


def test_nobody_is_told_to_join_the_group_of_root() -> None:
    socket = replace(SOCKET, group="root", may_use=False)
    refused = replace(ANSWERED, answer="Permission denied", socket=socket)
    assert "usermod" not in finding(without_engine(refused), "rights").do


@pytest.mark.parametrize(
    ("version", "verdict"), [("20.10.0", OK), ("29.0.1", OK), ("20.10.24+dfsg1", OK), ("19.03.15", PROBLEM), ("?", OK)]
)
def test_versions_before_20_10_are_too_old(version: str, verdict: str) -> None:
    assert check_version(replace(ENGINE, version=version)).verdict == verdict


def test_other_engines_than_docker_are_a_warning() -> None:
    assert check_version(replace(ENGINE, name="Other", version="4.3")).verdict == WARNING


def test_podman_is_tested_from_4_3_on() -> None:
    assert check_version(replace(ENGINE, name="Podman", version="4.3.1")).verdict == OK
    old = check_version(replace(ENGINE, name="Podman", version="3.4.4"))
    assert (old.verdict, old.do) == (PROBLEM, "use Podman 4.3 or newer")


def test_an_engine_elsewhere_is_told_with_its_addresses() -> None:
    there = replace(ENGINE, address="tcp://box:2375", is_local=False, host="box", publish_on="0.0.0.0")
    found = check_place(there)
    told = "tcp://box:2375 publishes services on 0.0.0.0, and tests reach them at box"
    assert (found.verdict, found.found) == (OK, told)
    assert check_place(replace(there, host="")).verdict == PROBLEM


@pytest.mark.parametrize(
    ("ahead_s", "within_s", "verdict"),
    [(0.9, 0, OK), (1.5, 0, WARNING), (-1.5, 0, WARNING), (1.5, 1, OK), (-31, 0, PROBLEM), (3600, 1, PROBLEM)],
)
def test_clocks_may_differ_by_less_than_a_second(ahead_s: float, within_s: float, verdict: str) -> None:
    found = check_clock(replace(ENGINE, clock_ahead_s=ahead_s, clock_within_s=within_s))
    assert found.verdict == verdict
    if verdict != OK:
        assert ("ahead of" if ahead_s > 0 else "behind") in found.found


def test_limits_that_the_engine_does_not_know_are_named() -> None:
    assert check_limits(ENGINE) is None
    found = check_limits(replace(ENGINE, limits_memory=False, limits_processes=False))
    assert found is not None
    assert found.found == "the engine cannot limit memory and processes of a container"


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "verdict"), [(0, OK), (12, OK), (13, WARNING), (15, WARNING), (16, PROBLEM)])
def test_a_pool_that_is_nearly_full_is_told_before_it_is_full(count: int, verdict: str) -> None:
    subnets = [f"10.1.0.{16 * n}/28" for n in range(count)]
    found = check_pool("10.1.0.0/24", ["172.17.0.0/16", "fd00::/64", *subnets])
    assert found.verdict == verdict
    assert f"is {count / 16:.0%} in use" in found.found
    assert ("pytest-isolate gc" in found.do) == (verdict != OK)


def test_one_network_around_the_whole_pool_fills_it() -> None:
    assert check_pool("10.1.0.0/24", ["10.0.0.0/8"]).verdict == PROBLEM


@pytest.mark.parametrize(("count", "verdict"), [(27, OK), (28, WARNING), (31, WARNING)])
def test_the_engines_own_pools_end_at_31_networks(count: int, verdict: str) -> None:
    subnets = [f"172.{n}.0.0/16" for n in range(17, 32)] + [f"192.168.{16 * n}.0/20" for n in range(16)]
    found = check_engine_pools(replace(ENGINE, subnets=tuple(subnets[:count])))
    assert found.verdict == verdict
    assert found.found.startswith(f"{count} of the 31 networks")


def test_pools_that_the_engine_was_given_count_in_place_of_its_own() -> None:
    found = check_engine_pools(
        replace(ENGINE, pools=(("10.5.0.0/24", 28), ("10.6.0.0/24", 28)), subnets=("10.5.0.0/28", "10.6.0.16/28"))
    )
    assert (found.verdict, found.found.split(" networks")[0]) == (OK, "2 of the 32")


def test_a_route_into_the_pool_is_told_unless_it_is_an_engines_network() -> None:
    routes = [Route("10.1.0.0/28", "br-0815"), Route("10.1.0.16/28", "eth1"), Route("10.2.0.0/16", "tun0")]
    assert check_routes("10.1.0.0/24", routes[:2], ["10.1.0.16/28"]) is None
    found = check_routes("10.0.0.0/8", routes, [])
    assert found is not None
    assert "10.1.0.16/28 through eth1, 10.2.0.0/16 through tun0" in found.found


# -- the machine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free_gib", "size_gib", "verdict"),
    [(50, 100, OK), (5, 20, OK), (4.9, 20, WARNING), (40, 1000, WARNING), (0.9, 20, PROBLEM), (0, 20, PROBLEM)],
)
def test_a_disk_that_is_nearly_full_is_told(free_gib: float, size_gib: int, verdict: str) -> None:
    disk = replace(DISK, free_bytes=int(free_gib * GIB), size_bytes=size_gib * GIB)
    found = check_disk(disk, ENGINE.advice["disk"])
    assert found.verdict == verdict
    assert found.found == f"/var/lib/docker: {free_gib:.1f} of {size_gib:.1f} GiB free"
    assert ("docker system df" in found.do) == (verdict != OK)


def test_a_disk_without_room_for_another_file_is_full() -> None:
    found = check_disk(replace(DISK, files=1000, free_files=19))
    assert found.verdict == PROBLEM
    assert "only 19 of 1000 files" in found.found


def test_a_disk_that_cannot_be_seen_is_no_problem() -> None:
    assert check_disk(Disk(what="engine", path="/data")).found == "/data cannot be seen from here"


@pytest.mark.parametrize(("used", "verdict"), [(95, OK), (96, WARNING), (122, PROBLEM)])
def test_inotify_instances_run_out(used: int, verdict: str) -> None:
    found = check_inotify(replace(INOTIFY, used_instances=used))
    assert found.verdict == verdict
    assert ("max_user_instances" in found.do) == (verdict != OK)


def test_few_watches_are_a_warning() -> None:
    assert check_inotify(replace(INOTIFY, max_watches=8191)).verdict == WARNING


def test_machines_without_inotify_are_not_asked_for_it() -> None:
    assert "inotify" not in [f.check for f in diagnose(replace(FACTS, inotify=None))]


# -- a virtual machine of this host -----------------------------------------------------------------------------------


IN_A_VM = replace(ENGINE, virtual_machine="Docker Desktop's virtual machine", memory_bytes=int(7.8 * GIB))


@pytest.mark.parametrize(
    ("ahead_s", "told"),
    [(-0.2, "clock 0.2 s behind"), (3.04, "clock 3.0 s ahead"), (0.005, "clock as here"), (-0.005, "clock as here")],
)
def test_a_virtual_machine_is_told_with_its_memory_and_its_clock(ahead_s: float, told: str) -> None:
    found = finding(replace(FACTS, engine=replace(IN_A_VM, clock_ahead_s=ahead_s)), "place")
    assert (found.verdict, found.found) == (OK, f"Docker Desktop's virtual machine, 7.8 GiB, {told}")


def test_routes_of_this_host_are_not_those_of_a_virtual_machine() -> None:
    route = Route(subnet="10.189.0.0/16", interface="tun0")
    assert [f.check for f in diagnose(replace(FACTS, routes=(route,))) if f.check == "routes"] == ["routes"]
    assert not [f for f in diagnose(replace(FACTS, engine=IN_A_VM, routes=(route,))) if f.check == "routes"]


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"OperatingSystem": "Docker Desktop", "Name": "docker-desktop"}, "Docker Desktop's virtual machine"),
        ({"OperatingSystem": "OrbStack", "Name": "orbstack"}, "OrbStack's virtual machine"),
        ({"OperatingSystem": "Ubuntu 24.04 LTS", "Name": "colima"}, "the virtual machine colima (Ubuntu 24.04 LTS)"),
        ({"Name": "colima"}, "the virtual machine colima"),
        ({}, "the virtual machine"),
    ],
)
def test_a_virtual_machine_is_called_as_it_calls_itself(info: Mapping[str, str], expected: str) -> None:
    assert name_machine(info) == expected
