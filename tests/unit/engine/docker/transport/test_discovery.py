"""Where a container engine may be listening."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from pytest_isolate.engine.docker.transport import discovery
from pytest_isolate.engine.docker.transport.discovery import (
    Candidate,
    Context,
    candidates_here,
    find_candidates,
    find_certificates,
    read_docker_context,
    why_no_address,
)
from pytest_isolate.engine.docker.transport.places import read_podman_machines, usual_addresses
from pytest_isolate.system import System

USUAL = [
    "unix:///var/run/docker.sock",
    "unix:///run/user/1000/docker.sock",
    "unix:///run/user/1000/podman/podman.sock",
    "unix:///run/podman/podman.sock",
]


def find(env: dict[str, str], context: Context | None = None) -> list[Candidate]:
    return list(find_candidates(env, lambda: context, usual_addresses(env, Path("/home/ann"), 1000, System.LINUX)))


def addresses(env: dict[str, str], context: Context | None = None) -> list[str]:
    return [candidate.address for candidate in find(env, context)]


def test_docker_host_is_the_only_one_where_it_is_set() -> None:
    env = {"DOCKER_HOST": "tcp://x:1", "DOCKER_CONTEXT": "remote"}

    assert find(env, Context("remote", "tcp://y:2")) == [Candidate("tcp://x:1", "DOCKER_HOST")]


def test_an_empty_docker_host_is_none() -> None:
    assert addresses({"DOCKER_HOST": ""}) == USUAL


def test_container_host_is_the_only_one_where_nothing_of_docker_is_named() -> None:
    env = {"CONTAINER_HOST": "unix:///podman.sock"}

    assert find(env, Context("desktop", "unix:///desktop.sock")) == [Candidate("unix:///podman.sock", "CONTAINER_HOST")]
    assert find({**env, "DOCKER_HOST": "tcp://x:1"}) == [Candidate("tcp://x:1", "DOCKER_HOST")]
    named = find({**env, "DOCKER_CONTEXT": "remote"}, Context("remote", "tcp://y:2"))
    assert named == [Candidate("tcp://y:2", "docker context 'remote'")]


def test_a_context_that_is_asked_for_is_the_only_one() -> None:
    assert find({"DOCKER_CONTEXT": "remote"}, Context("remote", "tcp://y:2")) == [
        Candidate("tcp://y:2", "docker context 'remote'")
    ]


def test_the_current_context_comes_before_the_usual_sockets() -> None:
    assert addresses({}, Context("desktop", "unix:///desktop.sock")) == ["unix:///desktop.sock", *USUAL]


def test_the_current_context_comes_first_also_when_it_names_a_usual_socket() -> None:
    assert find({}, Context("rootless", USUAL[1]))[0] == Candidate(USUAL[1], "docker context 'rootless'")


def test_no_address_is_tried_twice() -> None:
    assert sorted(addresses({}, Context("rootless", USUAL[1]))) == sorted(USUAL)


def test_the_users_own_sockets_are_where_the_system_says() -> None:
    assert addresses({"XDG_RUNTIME_DIR": "/tmp/me"}) == [
        "unix:///var/run/docker.sock",
        "unix:///tmp/me/docker.sock",
        "unix:///tmp/me/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ]


def test_where_the_system_says_nothing_it_is_the_users_usual_folder() -> None:
    assert addresses({}) == USUAL


# -- macOS and Windows ------------------------------------------------------------------------------------------------


def test_on_macos_the_usual_sockets_are_those_of_its_virtual_machines() -> None:
    found = usual_addresses({"COLIMA_HOME": "/c"}, Path("/Users/ann"), 501, System.MACOS)

    assert found == [
        "unix:///var/run/docker.sock",
        "unix:///c/default/docker.sock",
        "unix:///Users/ann/.docker/run/docker.sock",
        "unix:///Users/ann/.orbstack/run/docker.sock",
        "unix:///Users/ann/.colima/default/docker.sock",
        "unix:///Users/ann/.rd/docker.sock",
    ]
    assert usual_addresses({}, None, 501, System.MACOS) == ["unix:///var/run/docker.sock"]


def test_on_windows_the_usual_places_are_pipes() -> None:
    found = usual_addresses({}, Path("/x"), 0, System.WINDOWS)

    assert found[:2] == ["npipe:////./pipe/docker_engine", "npipe:////./pipe/dockerDesktopLinuxEngine"]


MACHINE = {"Name": "podman-machine-default", "ConnectionInfo": {"PodmanSocket": {"Path": "/t/podman.sock"}}}
ON_WINDOWS = {"PodmanSocket": {"Path": "C:\\x.sock"}, "PodmanPipe": {"Path": "\\\\.\\pipe\\podman-machine-default"}}


def test_podmans_machine_says_where_it_is() -> None:
    assert read_podman_machines(json.dumps([MACHINE])) == ["unix:///t/podman.sock"]
    assert read_podman_machines(json.dumps([{"ConnectionInfo": ON_WINDOWS}])) == [
        "npipe:////./pipe/podman-machine-default"
    ]


@pytest.mark.parametrize("answer", ["", "Error: no machine", "null", "[{}]", "{}", '[{"ConnectionInfo": null}]', "[1]"])
def test_podman_without_a_machine_has_no_address(answer: str) -> None:
    assert read_podman_machines(answer) == []


def test_podman_is_asked_only_when_all_else_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "podman"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\necho '{json.dumps([MACHINE])}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(discovery, "SYSTEM", System.MACOS)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER_CONFIG": str(tmp_path)}
    found = candidates_here(env)
    first = next(found)
    assert (first.address, (tmp_path / "asked").exists()) == ("unix:///var/run/docker.sock", False)
    assert list(found)[-1] == Candidate("unix:///t/podman.sock", "usual socket")


def test_a_context_of_docker_desktop_on_windows_is_read(home: Path) -> None:
    pipe = "npipe:////./pipe/dockerDesktopLinuxEngine"
    meta = {"Name": "desktop-linux", "Metadata": {"Description": "größer"}, "Endpoints": {"docker": {"Host": pipe}}}
    write_context(home, "hash3", json.dumps(meta, ensure_ascii=False))

    assert read_docker_context({"DOCKER_CONTEXT": "desktop-linux"}, home) == Context("desktop-linux", pipe)


@pytest.mark.unix
def test_a_pipe_is_looked_for_on_windows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_no_address("npipe:////./pipe/docker_engine") == "only Windows has named pipes"
    monkeypatch.setattr(discovery, "SYSTEM", System.WINDOWS)
    assert why_no_address("npipe:////./pipe/docker_engine") == "no such pipe"
    monkeypatch.setattr(discovery, "has_pipe", lambda _: True)
    assert why_no_address("npipe:////./pipe/docker_engine") == ""


# -- docker contexts --------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_context(tmp_path, "hash1", {"Name": "remote", "Endpoints": {"docker": {"Host": "tcp://y:2"}}})
    write_context(tmp_path, "hash2", {"Name": "desktop", "Endpoints": {"docker": {"Host": "unix:///d.sock"}}})
    choose(tmp_path, {"currentContext": "desktop"})
    return tmp_path


def write_context(home: Path, folder: str, meta: object) -> None:
    path = home / ".docker" / "contexts" / "meta" / folder / "meta.json"
    path.parent.mkdir(parents=True)
    path.write_text(meta if isinstance(meta, str) else json.dumps(meta), encoding="utf-8")


def choose(home: Path, config: object) -> None:
    (home / ".docker" / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))


def test_the_current_context_is_read(home: Path) -> None:
    assert read_docker_context({}, home) == Context("desktop", "unix:///d.sock")


def test_the_environment_names_another_context(home: Path) -> None:
    assert read_docker_context({"DOCKER_CONTEXT": "remote"}, home) == Context("remote", "tcp://y:2")


def test_the_environment_names_another_folder(home: Path) -> None:
    assert read_docker_context({"DOCKER_CONFIG": str(home / ".docker")}, Path("/nowhere")) == Context(
        "desktop",
        "unix:///d.sock",
    )


@pytest.mark.parametrize("config", [{}, {"currentContext": ""}, {"currentContext": "default"}, {"auths": {}}])
def test_the_default_context_is_none(home: Path, config: object) -> None:
    choose(home, config)

    assert read_docker_context({}, home) is None


def test_without_files_there_is_no_context(tmp_path: Path) -> None:
    assert read_docker_context({}, tmp_path) is None


@pytest.mark.parametrize("config", ["", "{", "[]", '"text"', "null"])
def test_a_broken_configuration_is_no_context(home: Path, config: str) -> None:
    choose(home, config)

    assert read_docker_context({}, home) is None


@pytest.mark.parametrize("meta", ["", "{", '{"Name": "broken"}', '{"Name": "broken", "Endpoints": {}}'])
def test_a_broken_context_has_no_address(tmp_path: Path, meta: str) -> None:
    write_context(tmp_path, "hash1", meta)
    choose(tmp_path, {"currentContext": "broken"})

    assert read_docker_context({}, tmp_path) == Context("broken")


def test_a_broken_context_does_not_hide_the_right_one(tmp_path: Path) -> None:
    write_context(tmp_path, "hash0", "{")
    write_context(tmp_path, "hash1", '{"Name": "right", "Endpoints": {"docker": {"Host": "unix:///right"}}}')
    choose(tmp_path, {"currentContext": "right"})

    assert read_docker_context({}, tmp_path) == Context("right", "unix:///right")


def test_a_context_that_is_not_there_is_no_reason_to_try_another_engine() -> None:
    gone = find({"DOCKER_CONTEXT": "gone"}, Context("gone"))

    assert gone == [Candidate("", "docker context 'gone'")]


@pytest.mark.parametrize(
    ("env", "address", "expected"),
    [
        ({}, "tcp://127.0.0.1:2376", ""),
        ({"DOCKER_TLS_VERIFY": "1"}, "unix:///var/run/docker.sock", ""),
        ({"DOCKER_TLS_VERIFY": "1"}, "tcp://127.0.0.1:2376", "/home/me/.docker"),
        ({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"}, "tcp://127.0.0.1:2376", "/c"),
    ],
)
def test_certificates_are_for_tcp_where_they_are_asked_for(env: dict[str, str], address: str, expected: str) -> None:
    assert find_certificates(env, address, Path("/home/me")) == expected


@pytest.mark.unix
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "there is no such context"),
        ("unix:///no/such.sock", "no such socket"),
        ("ssh://", "not an address"),
        ("ssh://me:secret@there", "no password"),
        ("nonsense", "not an address"),
        ("127.0.0.1:2375", "not an address"),
        ("http+nothing://x", "not an address"),
        ("tcp://", "not an address"),
        ("tcp://x:port", "port"),
        ("tcp://[x", "IPv6"),
    ],
)
def test_address_where_nobody_can_answer_says_why(address: str, why: str) -> None:
    assert why in why_no_address(address)


@pytest.mark.unix
@pytest.mark.parametrize(
    "address", ["unix:///", "tcp://127.0.0.1:2375", "http://localhost", "https://[::1]:2376", "ssh://me@there"]
)
def test_address_where_somebody_may_answer_has_no_fault(address: str) -> None:
    assert why_no_address(address) == ""


@pytest.mark.parametrize("is_verified", [True, False])
def test_a_context_brings_its_certificates(tmp_path: Path, is_verified: bool) -> None:
    docker = {"Host": "tcp://y:2376", "SkipTLSVerify": not is_verified}
    write_context(tmp_path, "hash1", {"Name": "far", "Endpoints": {"docker": docker}})
    choose(tmp_path, {"currentContext": "far"})
    # sha256 of "far", as docker names the folder.
    folder = tmp_path / ".docker/contexts/tls" / hashlib.sha256(b"far").hexdigest() / "docker"
    folder.mkdir(parents=True)

    context = read_docker_context({}, tmp_path)

    assert context == Context("far", "tcp://y:2376", str(folder), is_verified)
    assert find({}, context)[0] == Candidate("tcp://y:2376", "docker context 'far'", str(folder), is_verified)
