"""Where an engine's published ports answer: on its host, elsewhere, or from within one of its containers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_isolate.engine.api import Capability, PublishAddress
from pytest_isolate.engine.docker.engine import DockerEngine
from pytest_isolate.engine.docker.host import (
    FORWARDED,
    LOCAL,
    Machine,
    ask_machine,
    far_address,
    find_own_ids,
    find_publish_address,
    may_be_elsewhere,
    shares_kernel,
)
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.errors import ObjectNotFound
from pytest_isolate.plugin.run.opening import reuse_name
from unit.scripted import Scripted, answer

OWN, OTHER = "a" * 64, "b" * 64
ANOTHER = PublishAddress(host="10.9.0.1", publish_on="10.9.0.1", is_local=False)
GATEWAY = PublishAddress(host="172.17.0.1", publish_on="172.17.0.1", is_local=False)


ON_THE_HOST = PublishAddress(shares_files=True)


def elsewhere(host: str) -> PublishAddress:
    return PublishAddress(host=host, publish_on="0.0.0.0", is_local=False)


def container(mode: str = "default", **gateways: str) -> Mapping[str, Any]:
    networks = {name: {"Gateway": gateway} for name, gateway in gateways.items()}
    return {"HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": networks}}


def nobody(own_id: str) -> Mapping[str, Any]:
    raise ObjectNotFound("no such container")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:2375", LOCAL),
        ("tcp://localhost:2376", LOCAL),
        ("https://[::1]:2376", LOCAL),
        ("tcp://box:2376", elsewhere("box")),
        ("tcp://docker:2375", elsewhere("docker")),
        ("http://10.0.0.5", elsewhere("10.0.0.5")),
    ],
)
def test_an_address_says_whose_ports_they_are(address: str, expected: PublishAddress) -> None:
    assert find_publish_address(address, nobody, lambda: [OWN]) == expected


@pytest.mark.parametrize(("host", "expected"), [("10.1.2.3", elsewhere("10.1.2.3")), ("127.0.0.1", LOCAL)])
def test_behind_ssh_it_is_where_ssh_goes(monkeypatch: pytest.MonkeyPatch, host: str, expected: PublishAddress) -> None:
    monkeypatch.setattr("pytest_isolate.engine.docker.transport.ssh.find_host", lambda login: host)
    assert find_publish_address("ssh://nickname", nobody) == expected


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        pytest.param({}, ON_THE_HOST, id="the engine is within this container"),
        pytest.param({OWN: container(bridge="172.17.0.1")}, GATEWAY, id="on the default network"),
        pytest.param({OWN: container("mine", mine="10.9.0.1")}, ANOTHER, id="on another"),
        pytest.param(
            {OWN: container("mine", closed="", open="172.17.0.1")}, GATEWAY, id="on two, one without a way out"
        ),
        pytest.param({OWN: container("host", host="")}, LOCAL, id="on the host's own"),
        pytest.param(
            {OWN: container(f"container:{OTHER}"), OTHER: container(bridge="172.17.0.1")},
            GATEWAY,
            id="on another container's",
        ),
        pytest.param({OTHER: container(bridge="172.17.0.1")}, GATEWAY, id="the second hint is right"),
        pytest.param({OWN: container("none", none="")}, elsewhere(""), id="on none"),
    ],
)
def test_from_within_a_container_it_is_the_gateway(containers: Mapping[str, Any], expected: PublishAddress) -> None:
    def inspect(own_id: str) -> Mapping[str, Any]:
        return containers[own_id] if own_id in containers else nobody(own_id)

    assert find_publish_address("unix:///var/run/docker.sock", inspect, lambda: [OWN, OTHER]) == expected


def test_on_the_host_no_engine_is_asked() -> None:
    def inspect(own_id: str) -> Mapping[str, Any]:
        raise AssertionError("asked")

    assert find_publish_address("unix:///var/run/docker.sock", inspect, list) == ON_THE_HOST


@pytest.mark.parametrize(
    ("mounts", "groups", "hostname", "expected"),
    [
        ("", "0::/\n", "", []),
        ("", "0::/user.slice/session-1.scope\n", "laptop", []),
        (f"1 2 254:0 /var/lib/docker/containers/{OWN}/hostname /etc/hostname rw - ext4 /dev/vda rw\n", "", "", [OWN]),
        (
            f"1 2 254:0 /lib/containers/{OWN}/hostname /lib/overlay2/ab/merged/etc/hostname rw - ext4 /d rw\n",
            "",
            "",
            [],
        ),
        (f"1 2 0:5 /overlay-containers/{OWN}/userdata/hosts /etc/hosts rw - ext4 /dev/vda rw\n", "", "", [OWN]),
        (f"1 2 0:5 / / rw - overlay overlay rw,upperdir=/x/{OTHER}/diff\n", "", "", []),
        ("", f"9:name=systemd:/docker/{OWN}\n8:pids:/docker/{OWN}\n", "", [OWN]),
        ("", f"0::/system.slice/docker-{OWN}.scope\n", "", [OWN]),
        ("", "0::/\n", "0123456789ab", ["0123456789ab"]),
    ],
)
def test_ids_are_where_engines_leave_them(mounts: str, groups: str, hostname: str, expected: list[str]) -> None:
    assert find_own_ids(mounts, groups, hostname) == expected


@pytest.mark.parametrize(
    ("host", "own_ids", "expected"),
    [
        ("tcp://box:2375", [], True),
        ("ssh://box", [], True),
        ("tcp://127.0.0.1:2375", [], True),
        ("unix:///home/me/.docker/desktop/docker.sock", [], True),
        ("unix:///var/run/docker.sock", [], False),
        ("unix:///run/user/1000/podman/podman.sock", [], False),
        ("unix:///var/run/docker.sock", [OWN], True),
    ],
)
def test_an_engine_may_be_elsewhere_or_in_a_virtual_machine(
    monkeypatch: pytest.MonkeyPatch, host: str, own_ids: list[str], expected: bool
) -> None:
    """What sets variables before pytest starts must not hold the ports then."""
    monkeypatch.setattr("pytest_isolate.engine.docker.host.read_own_ids", lambda: own_ids)
    assert may_be_elsewhere({"DOCKER_HOST": host}) is expected


@pytest.mark.parametrize(
    ("system", "release"), [("darwin", "24.1.0"), ("win32", "10"), ("linux", "6.6-microsoft-WSL2")]
)
def test_on_these_systems_an_engine_may_always_be_in_a_virtual_machine(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str
) -> None:
    monkeypatch.setattr("pytest_isolate.engine.docker.host.read_own_ids", list)
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.release", lambda: release)
    assert may_be_elsewhere({"DOCKER_HOST": "unix:///var/run/docker.sock"})


# -- virtual machines of this host ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "system", "expected"),
    [
        pytest.param({"KernelVersion": "6.1.0-18-amd64"}, "linux", True, id="this kernel"),
        pytest.param({}, "linux", True, id="Podman, which does not tell"),
        pytest.param({"KernelVersion": "<unknown>"}, "linux", True, id="Docker, which does not know"),
        pytest.param({"KernelVersion": "6.10.4-linuxkit"}, "linux", False, id="another one"),
        pytest.param(
            {"KernelVersion": "6.1.0-18-amd64", "Platform": {"Name": "Docker Desktop 4.34.0 (165256)"}},
            "linux",
            False,
            id="Docker Desktop in WSL, which has the same",
        ),
        pytest.param(
            {"KernelVersion": "6.1.0-18-amd64", "Platform": {"Name": "Docker Engine - Community"}},
            "linux",
            True,
            id="Docker's own packages",
        ),
        pytest.param({"KernelVersion": "6.1.0-18-amd64"}, "darwin", False, id="macOS"),
        pytest.param({}, "win32", False, id="Windows"),
    ],
)
def test_an_engine_tells_its_kernel(version: Mapping[str, Any], system: str, expected: bool) -> None:
    assert shares_kernel(version, system, "6.1.0-18-amd64") is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:///s", FORWARDED),
        ("tcp://127.0.0.1:2375", FORWARDED),
        ("tcp://box:2376", elsewhere("box")),
    ],
)
def test_ports_of_another_kernel_come_to_this_host_by_a_forwarder(address: str, expected: PublishAddress) -> None:
    assert find_publish_address(address, nobody, list, is_same_kernel=False) == expected
    assert not expected.can_hold_ports
    assert not expected.shares_files


def test_from_within_a_container_of_a_virtual_machine_it_is_the_gateway() -> None:
    found = find_publish_address(
        "unix:///s", lambda _: container(bridge="172.17.0.1"), lambda: [OWN], is_same_kernel=False
    )
    assert found == GATEWAY


def test_an_engine_of_a_virtual_machine_tells_its_memory_and_its_clock() -> None:
    version = {"Version": "27.0", "KernelVersion": "6.10.4-linuxkit"}
    info = {"MemTotal": 5 << 30, "SystemTime": "2001-01-01T00:00:00Z"}
    with Scripted(answer(json.dumps(info).encode()), version=answer(json.dumps(version).encode())) as server:
        engine = DockerEngine(Http(server.address))
        facts = engine.facts()
        assert engine._machine.clock_offset_s < -60
    assert (facts.is_local, facts.is_forwarded, facts.shares_files) == (True, True, False)
    assert facts.memory_bytes == 5 << 30
    assert Capability.NATIVE_PORTS not in facts.capabilities


def test_what_is_kept_on_another_engine_is_kept_apart() -> None:
    """Its containers are not there, and a name that two engines share would make each run start them anew."""
    envs = [{"DOCKER_HOST": host} for host in ("unix:///s", "tcp://127.0.0.1:2375", "ssh://box", "tcp://box:2376")]
    assert [far_address(env) for env in envs] == ["", "", "ssh://box", "tcp://box:2376"]
    names = [reuse_name("/project", "", env) for env in envs]
    assert names[:2] == ["/project", "/project"]
    assert len({*names, reuse_name("/project", "gate", envs[0])}) == 4


# -- its machine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system_time", "took_s", "ahead_s"),
    [
        ("1970-01-01T00:16:40.5Z", 1.0, 0),
        ("1970-01-01T00:16:40.9Z", 1.0, 0),
        ("1970-01-01T00:16:45.5Z", 1.0, 5),
        ("1970-01-01T01:16:30+01:00", 0.0, -10),
        ("", 0.0, 0),
    ],
)
def test_a_clock_differs_by_what_the_way_does_not_explain(system_time: str, took_s: float, ahead_s: float) -> None:
    now = itertools.cycle([1000.0, 1000.0 + took_s])
    told = {"MemTotal": 5, "SystemTime": system_time}
    assert ask_machine(lambda: told, lambda: next(now)) == Machine(
        memory_bytes=5, clock_offset_s=pytest.approx(ahead_s)
    )


def test_answer_that_was_begun_for_somebody_else_makes_no_clock_behind() -> None:
    """Docker from 25 on shares an answer among all who ask before it is given."""
    now = itertools.count(1000.0, 0.5)
    answers = [{"SystemTime": f"1970-01-01T00:16:{second}Z"} for second in ("38.0", "39.5", "42.25")]
    asked = iter(answers)
    assert ask_machine(lambda: next(asked), lambda: next(now)).clock_offset_s == 0
    assert list(asked) == []


def test_moments_are_of_this_machines_clock() -> None:
    """Trap 13: what a container writes at once would be older than its start, or a test's."""
    written = b"1970-01-01T00:16:42.000000000Z late\n"
    with Scripted(answer(b"\x01\0\0\0" + len(written).to_bytes(4, "big") + written)) as server:
        engine = DockerEngine(Http(server.address))
        vars(engine)["_machine"] = Machine(clock_offset_s=10)
        assert [line.when for line in engine.read_log_lines("c", since=990)] == [pytest.approx(992)]
        engine.read_logs("c", since=990)
    assert "since=999.999" in server.asked[-2]
    assert "since=1000.000000" in server.asked[-1]
