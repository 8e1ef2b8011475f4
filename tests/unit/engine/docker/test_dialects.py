"""What engines do in their own way, as plain values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.engine.docker.dialects import DOCKER, PODMAN, dialect_of, plain_name, podman_version
from pytest_isolate.engine.docker.engine import DockerEngine
from pytest_isolate.engine.docker.refusals import refusal_error
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.docker.wire import build_step, container_usage, dropped_limits, has_labels, is_step
from pytest_isolate.errors import EngineError, ObjectNotFound
from unit.scripted import VERSION, Scripted, answer

NONE_HELD = {"HostConfig": {"Memory": 0, "NanoCpus": 0, "CpuQuota": 0, "PidsLimit": 0}}
WORD = "Libpod/4.3.1 (linux)"


def request(**limits: Any) -> ContainerRequest:
    return ContainerRequest(name="a", image="b", labels={}, **limits)


def test_podman_is_known_by_the_word_in_its_answers() -> None:
    version = podman_version(WORD)
    assert version["Version"] == "4.3.1"
    assert dialect_of(version) is PODMAN


@pytest.mark.parametrize("server", ["", "Docker/20.10.24 (linux)", "nginx"])
def test_other_words_say_nothing(server: str) -> None:
    assert podman_version(server) == {}


def test_podman_is_not_asked_for_its_version_on_a_socket_of_this_host(tmp_path: Path) -> None:
    says = answer(b"[]").replace(b"200 OK\r\n", f"200 OK\r\nServer: {WORD}\r\n".encode())
    with Scripted(says, path=tmp_path / "s") as server:
        engine = DockerEngine(Http(server.address))
        assert engine.facts().name == "Podman"
        assert engine.list_networks({}) == []
    assert [line.split()[1].partition("?")[0] for line in server.asked] == ["/_ping", "/v4.0.0/libpod/networks/json"]


@pytest.mark.unix
@pytest.mark.parametrize("name", ["podman-machine-default-api.sock", "podman/machine/podman.sock"])
def test_podmans_machine_is_asked_for_its_kernel(tmp_path: Path, name: str) -> None:
    """Of its answers to other questions none tells that it is another one than this host's."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    told = {"Version": "5.2.1", "KernelVersion": "6.9-coreos", "Components": [{"Name": "Podman Engine"}]}
    says = answer(b"{}").replace(b"200 OK\r\n", f"200 OK\r\nServer: {WORD}\r\n".encode())
    with Scripted(says, version=answer(json.dumps(told).encode()), path=tmp_path / name) as server:
        facts = DockerEngine(Http(server.address)).facts()
    assert (facts.name, facts.version, facts.is_forwarded) == ("Podman", "5.2.1", True)


@pytest.mark.unix
def test_docker_is_asked_for_its_version(tmp_path: Path) -> None:
    with Scripted(answer(b"OK"), path=tmp_path / "s") as server:
        facts = DockerEngine(Http(server.address)).facts()
    assert (facts.name, facts.version) == ("Docker", "27.0")
    assert b"27.0" in VERSION
    assert dialect_of({"Version": "27.0"}) is DOCKER


@pytest.mark.parametrize("tag", ["localhost/a/b:1", "docker.io/a/b:1", "docker.io/library/a/b:1", "a/b:1"])
def test_names_of_images_are_those_that_were_given(tag: str) -> None:
    assert plain_name(PODMAN, tag) == "a/b:1"


def test_a_registry_that_was_named_stays() -> None:
    assert plain_name(PODMAN, "quay.io/a/b:1") == "quay.io/a/b:1"
    assert plain_name(DOCKER, "localhost/a:1") == "localhost/a:1"


def test_limits_that_were_asked_for_and_are_not_there_are_dropped() -> None:
    assert dropped_limits(request(memory_bytes=1, cpus=0.5, pids=3), NONE_HELD) == {"memory", "cpus", "pids"}
    assert dropped_limits(request(memory_bytes=1), NONE_HELD) == {"memory"}
    assert dropped_limits(request(), NONE_HELD) == set()


@pytest.mark.parametrize("cpus", [{"NanoCpus": 5}, {"NanoCpus": 0, "CpuQuota": 50000}])
def test_limits_that_are_there_are_not_dropped(cpus: dict[str, int]) -> None:
    held = {"HostConfig": {"Memory": 1, "PidsLimit": 3, **cpus}}
    assert dropped_limits(request(memory_bytes=1, cpus=0.5, pids=3), held) == set()


def test_usage_that_nobody_counts_is_none() -> None:
    stats = {"memory_stats": {"usage": 1 << 30}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}}
    assert container_usage(stats) is None


def test_an_event_is_of_those_that_carry_every_label() -> None:
    event = {"Actor": {"ID": "1", "Attributes": {"a": "1", "b": "2", "image": "x"}}}
    assert has_labels(event, {"a": "1", "b": "2"})
    assert not has_labels(event, {"a": "1", "b": "3"})
    assert not has_labels({"Actor": {"ID": "1"}}, {"a": "1"})


@pytest.mark.parametrize("line", ["Step 2/7 : RUN make", "STEP 2/7: RUN make"])
def test_steps_of_a_build_are_counted_as_each_engine_tells_them(line: str) -> None:
    step = build_step(line)
    assert is_step(line)
    assert (step.text, step.done, step.total) == ("RUN make", 2, 7)
    assert not is_step("COMMIT a:1")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("container create: unable to find network with name or ID x: network not found", ObjectNotFound),
        ("container state improper", EngineError),
    ],
)
def test_refusals_are_known_by_their_words(text: str, kind: type[EngineError]) -> None:
    assert type(refusal_error("it failed", 500, text)) is kind


def test_commands_for_people_name_their_engines_program() -> None:
    with Scripted() as server:
        assert DockerEngine(Http(server.address)).commands.enter("x") == "docker exec -it x sh"
        server.version = answer(b'{"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}]}')
        commands = DockerEngine(Http(server.address)).commands
    assert commands.run_inside("x", "true", f'A="$({commands.read_variable("x", "A")})"') == (
        'podman exec -it -e A="$(podman exec x printenv A)" x true'
    )
    assert commands.remove({"a": "b"})[0] == "podman rm -fv $(podman ps -aq --filter label=a=b)"


@pytest.mark.unix
def test_commands_for_people_are_dockers_where_the_engine_does_not_answer() -> None:
    assert DockerEngine(Http("unix:///no/such.sock")).commands.logs("x") == "docker logs x"


@pytest.mark.parametrize(
    "text", ["network inspection mismatch: internal libpod error", "read /proc/1238/cgroup: no such process"]
)
@pytest.mark.parametrize(("method", "times"), [("GET", 5), ("POST", 1)])
def test_question_that_is_refused_only_for_a_moment_is_asked_again(text: str, method: str, times: int) -> None:
    with Scripted(answer(f'{{"message": "{text}"}}'.encode(), "500 X")) as server:
        with pytest.raises(EngineError, match=text):
            Http(server.address).ask("it failed", method, "/x")
        assert len([line for line in server.asked if "/x" in line]) == times
