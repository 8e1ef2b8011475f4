"""Exec, attach and logs of the fake cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.programs import forever, program
from waiting import wait_for

from .calling import Api, WebSocket, read_channels
from .conftest import Kubectl, Pods
from .fake.handle import FakeCluster

pytestmark = [pytest.mark.engine, pytest.mark.linux]
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"


def execute(api: Api, name: str, *command: str, stdin: bool = False, protocol: str = V5) -> WebSocket:
    query = [("command", word) for word in command] + [("stdout", "true"), ("stderr", "true")]
    return api.websocket(f"pods/{name}/exec", protocol, query + ([("stdin", "true")] if stdin else []))


@pytest.fixture
def pod(pods: Pods) -> str:
    return pods.run(forever())


@pytest.fixture
def older(fake_cluster: FakeCluster) -> Iterator[None]:
    """A server that knows neither v5 nor the tunnel."""
    fake_cluster.order("set_version", major=1, minor=29)
    yield
    fake_cluster.order("set_version", major=1, minor=34)


@pytest.mark.parametrize("protocol", [V5, V4])
def test_a_command_has_two_outputs_and_a_code(api: Api, pod: str, protocol: str) -> None:
    found = read_channels(execute(api, pod, "sh", "-c", "echo out; echo err >&2; exit 3", protocol=protocol))
    assert (found[1], found[2]) == (b"out\n", b"err\n")
    status = json.loads(found[3])
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert json.loads(read_channels(execute(api, pod, "true", protocol=protocol))[3])["status"] == "Success"


def test_a_program_that_is_not_there_is_status_500(api: Api, pod: str) -> None:
    found = read_channels(execute(api, pod, "no-such-program"))
    status = json.loads(found[3])
    assert (status["code"], status["reason"]) == (500, "InternalError")
    assert 'exec: "no-such-program": executable file not found in $PATH' in status["message"]
    assert 1 not in found


def test_input_ends_where_v5_says_so(api: Api, pod: str) -> None:
    socket = execute(api, pod, "cat", stdin=True)
    socket.send(b"\0some ")
    socket.send(b"\0text")
    socket.send(b"\xff\0")
    found = read_channels(socket)
    assert found[1] == b"some text"
    assert json.loads(found[3])["status"] == "Success"


def test_input_never_ends_over_v4(api: Api, pod: str) -> None:
    socket = execute(api, pod, "cat", stdin=True, protocol=V4)
    socket.send(b"\0text")
    assert next(socket.messages())[:1] in (b"\x00", b"\x01")
    socket.send(b"\xff\0")
    socket.silence_after(2)
    with pytest.raises(TimeoutError):
        list(socket.messages())
    socket.close()


def test_a_command_without_input_outlives_its_connection(api: Api, pod: str) -> None:
    execute(api, pod, "sh", "-c", "sleep 1; head -c 5000000 /dev/zero; echo done > /tmp/outlived").close()
    wait_for(lambda: read_channels(execute(api, pod, "cat", "/tmp/outlived")).get(1) == b"done\n")


def test_a_command_that_reads_ends_with_its_connection(api: Api, pod: str) -> None:
    socket = execute(api, pod, "sh", "-c", "echo ready; cat; echo done > /tmp/ended", stdin=True)
    assert any(message == b"\x01ready\n" for message in socket.messages())
    socket.close()
    wait_for(lambda: read_channels(execute(api, pod, "cat", "/tmp/ended")).get(1) == b"done\n")


def test_large_output_arrives_whole(api: Api, pod: str) -> None:
    found = read_channels(execute(api, pod, "head", "-c", "5000000", "/dev/zero"))
    assert len(found[1]) == 5_000_000


def test_a_ping_is_answered(api: Api, pod: str) -> None:
    socket = execute(api, pod, "cat", stdin=True)
    socket.send(b"are you there", code=9)
    assert any(message == b"pong are you there" for message in socket.messages())
    socket.close()


def test_a_command_ends_with_its_container_sooner_than_the_pod_is_told_to(api: Api, pods: Pods) -> None:
    name = pods.run(program("sleep 3", "exit 7"))
    read_channels(execute(api, name, "sleep", "1000", stdin=True))
    ended = time.monotonic()
    assert pods.wait_for(name, "terminated")["exitCode"] == 7
    assert time.monotonic() - ended > 0.8


def test_a_server_that_knows_no_v5_refuses_it(api: Api, pod: str, older: None) -> None:
    refused = execute(api, pod, "true", protocol=V5)
    refused.close()
    assert refused.status == 403
    assert json.loads(read_channels(execute(api, pod, "true", protocol=V4))[3])["status"] == "Success"


def test_a_pod_that_has_ended_runs_no_commands(api: Api, pods: Pods) -> None:
    name = pods.create(program("exit 0"))
    pods.wait_for(name, "terminated")
    code, status = api.call("GET", f"pods/{name}/exec", command="true", stdout="true")
    assert (code, status["message"]) == (
        400,
        "cannot exec into a container in a completed pod; current phase is Succeeded",
    )


def test_attach_carries_a_programs_own_input_and_output(api: Api, pods: Pods) -> None:
    name = pods.run(
        ["sh", "-c", "while read line; do echo got $line; done; echo end"], container={"stdin": True, "stdinOnce": True}
    )
    query = [("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    socket = api.websocket(f"pods/{name}/attach", V5, query)
    socket.send(b"\0one\ntwo\n")
    socket.send(b"\xff\0")
    assert read_channels(socket)[1] == b"got one\ngot two\nend\n"
    assert pods.wait_for(name, "terminated")["exitCode"] == 0


def test_attach_leaves_the_program_alone_when_its_client_goes(api: Api, pods: Pods) -> None:
    name = pods.run(["sh", "-c", "while :; do echo tick; sleep 0.2; done"])
    socket = api.websocket(f"pods/{name}/attach", V5, [("stdout", "true")])
    assert any(message == b"\x01tick\n" for message in socket.messages())
    socket.close()
    before = len(api.call("GET", f"pods/{name}/log")[1])
    wait_for(lambda: len(api.call("GET", f"pods/{name}/log")[1]) > before)
    assert "running" in pods.state(name)


def test_logs_with_their_options(api: Api, pods: Pods) -> None:
    name = pods.create(program("say one", "sleep 1.5", "say two", "err three"))
    pods.wait_for(name, "terminated")

    def read(**query: str) -> list[str]:
        code, text = api.call("GET", f"pods/{name}/log", **query)
        assert code == 200, text
        return str(text).splitlines()

    assert sorted(read()) == ["one", "three", "two"]
    assert read()[0] == "one"
    assert len(read(tailLines="1")) == 1
    stamped = read(timestamps="true")
    moment, word = stamped[1].split(" ")
    assert word in ("two", "three")
    assert len(read(sinceTime=moment)) == 2
    # Cut to whole seconds, what was written sooner in the same second comes, too.
    assert len(read(sinceTime=f"{stamped[0][:19]}.999999999Z")) == 3
    assert read(limitBytes="4") == ["one"]
    code, status = api.call("GET", f"pods/{name}/log", stream="Stdout")
    assert (code, status["message"]) == (
        422,
        f'PodLogOptions "{name}" is invalid: stream: Forbidden: may not be specified',
    )


def test_a_followed_log_ends_a_while_after_its_container(api: Api, pods: Pods) -> None:
    name = pods.run(program("say one", "sleep 2", "say two"))
    with api.request("GET", f"{api.path(f'pods/{name}/log')}?follow=true") as answer:
        assert answer.readline() == b"one\n"
        assert answer.readline() == b"two\n"
        last = time.monotonic()
        assert answer.readline() == b""
        assert time.monotonic() - last >= 0.9


def test_there_is_no_log_before_there_is_a_container(api: Api, pods: Pods) -> None:
    name = pods.create(container={"image": "no-such-image:1", "imagePullPolicy": "Never"})
    pods.wait_for(name, "waiting", "ErrImageNeverPull")
    code, status = api.call("GET", f"pods/{name}/log")
    text = f'container "main" in pod "{name}" is waiting to start: trying and failing to pull image'
    assert (code, status["message"]) == (400, text)


def test_kubectl_runs_commands_and_copies_files(kubectl: Kubectl, pod: str, tmp_path: Path) -> None:
    done = kubectl("exec", pod, "--", "sh", "-c", "echo out; exit 3", code=3)
    assert done.stdout == "out\n"
    assert kubectl("exec", "-i", pod, "--", "cat", text="some text").stdout == "some text"
    (tmp_path / "file").write_text("content")
    kubectl("cp", str(tmp_path / "file"), f"{pod}:/tmp/file")
    kubectl("cp", f"{pod}:/tmp/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content"


def test_a_terminal_has_the_size_that_it_is_told(api: Api, pod: str) -> None:
    query = [("command", "sh"), ("stdin", "true"), ("stdout", "true"), ("tty", "true")]
    socket = api.websocket(f"pods/{pod}/exec", V5, query)
    socket.send(b'\x04{"Width": 91, "Height": 17}')
    socket.send(b"\0until [ \"$(stty size)\" = '17 91' ]; do sleep 0.1; done; exit 4\n")
    status = json.loads(read_channels(socket)[3])
    assert status["details"]["causes"][0]["message"] == "4"


def test_kubectl_runs_commands_on_an_older_server(kubectl: Kubectl, pods: Pods, pod: str, older: None) -> None:
    done = kubectl("exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert done.stdout == "out\n"
    assert done.stderr.startswith("err\n")
    assert kubectl("exec", "-i", pod, "--", "cat", text="some text").stdout == "some text"
    assert kubectl("exec", pod, "--", "head", "-c", "1000000", "/dev/zero").stdout == "\0" * 1_000_000
    reader = pods.run(["sh", "-c", "read line; sleep 1; echo got $line"], container={"stdin": True, "stdinOnce": True})
    assert "got something" in kubectl("attach", "-i", reader, text="something\n").stdout


def test_kubectl_shows_logs_and_attaches(kubectl: Kubectl, pods: Pods) -> None:
    name = pods.run(program("say hello", "sleep 2", "say bye"))
    assert kubectl("logs", "-f", name).stdout == "hello\nbye\n"
    reader = pods.run(["sh", "-c", "read line; echo got $line"], container={"stdin": True, "stdinOnce": True})
    assert "got something" in kubectl("attach", "-i", reader, text="something\n").stdout
