"""Commands in containers, and the input and output of the containers' own programs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import docker

from kubernetes.fake.api import status
from kubernetes.fake.api.server import Handler, Request
from kubernetes.fake.node.docker_socket import Hijacked
from kubernetes.fake.node.kubelet import Kubelet
from kubernetes.fake.streams.channels import STDOUT, Channels, SpdyChannels, WebSocketChannels
from kubernetes.fake.streams.target import Target, find_target
from kubernetes.fake.streams.websocket import accept, is_websocket

_V5_SINCE = (1, 30)
_NOT_RUN = b"OCI runtime exec failed:"
_SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}
_NAMES = ("stdin", "stdout", "stderr")


def serve_exec(kubelet: Kubelet, handler: Handler, request: Request) -> None:
    command = request.query.get("command")
    target = _find(kubelet, request)
    if not command:
        raise status.bad_request("you must specify at least one command for the container")
    channels = _open_channels(handler, request)
    if channels is None:
        return
    client = kubelet.node.client
    if not _is_running(client, target):
        _refuse(channels, target)
        return
    asked = {name: _is_set(request, name) for name in (*_NAMES, "tty")}
    options = {f"Attach{name.capitalize()}": asked[name] for name in _NAMES}
    body = {**options, "Tty": asked["tty"], "Cmd": command}
    exec_id = client._result(
        client._post_json(client._url("/containers/{0}/exec", target.container_id), data=body), True
    )["Id"]
    hijacked = Hijacked(f"/v1.41/exec/{exec_id}/start", {"Detach": False, "Tty": asked["tty"]})
    if hijacked.error:
        channels.end(_failure(hijacked.error))
        return

    def resize(size: dict[str, int]) -> None:
        with suppress(docker.errors.APIError):
            client.exec_resize(exec_id, height=size["Height"], width=size["Width"])

    last = _carry(hijacked, channels, asked, resize)
    code = client.exec_inspect(exec_id)["ExitCode"]
    if code in (126, 127) and last.startswith(_NOT_RUN):
        channels.end(_failure(last.decode(errors="replace").strip()))
    else:
        channels.end(_exit_status(code or 0))


def serve_attach(kubelet: Kubelet, handler: Handler, request: Request) -> None:
    target = _find(kubelet, request)
    channels = _open_channels(handler, request)
    if channels is None:
        return
    if not _is_running(kubelet.node.client, target):
        _refuse(channels, target)
        return
    has_input = _is_set(request, "stdin") and bool(target.container.get("stdin"))
    asked = {
        **{name: _is_set(request, name) for name in _NAMES},
        "tty": bool(target.container.get("tty")),
        "stdin": has_input,
    }
    query = urlencode({"stream": 1, **{name: int(asked[name]) for name in _NAMES}})
    hijacked = Hijacked(f"/v1.41/containers/{target.container_id}/attach?{query}")

    def resize(size: dict[str, int]) -> None:
        with suppress(docker.errors.APIError):
            kubelet.node.client.resize(target.container_id, height=size["Height"], width=size["Width"])

    _carry(hijacked, channels, asked, resize)
    channels.end(_SUCCESS)


def _refuse(channels: Channels, target: Target) -> None:
    threading.Thread(target=lambda: [*channels.read(lambda size: None)], daemon=True).start()
    channels.end(status.internal(f'unable to upgrade connection: container not found ("{target.name}")').body)


def _find(kubelet: Kubelet, request: Request) -> Target:
    target = find_target(kubelet, request)
    phase = target.pod["status"]["phase"]
    if phase in ("Succeeded", "Failed"):
        raise status.bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
    if not any(_is_set(request, name) for name in _NAMES):
        raise status.bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return target


def _is_set(request: Request, name: str) -> bool:
    return request.first().get(name) in ("true", "1")


def _is_running(client: Any, target: Target) -> bool:
    try:
        return bool(target.container_id) and bool(client.inspect_container(target.container_id)["State"]["Running"])
    except docker.errors.NotFound:
        return False


def _open_channels(handler: Handler, request: Request) -> Channels | None:
    if is_websocket(handler):
        known = ["v4.channel.k8s.io"]
        if handler.site.version >= _V5_SINCE:
            known.insert(0, "v5.channel.k8s.io")
        websocket = accept(handler, known)
        return WebSocketChannels(websocket) if websocket else None
    is_terminal = _is_set(request, "tty")
    wanted = sum(_is_set(request, name) for name in _NAMES) + 1 + is_terminal
    return SpdyChannels(handler, wanted)


def _carry(
    hijacked: Hijacked,
    channels: Channels,
    asked: dict[str, bool],
    resize: Callable[[dict[str, int]], None],
) -> bytes:
    """Carry input and output to the end; return a last piece of output that is Docker's own word.

    When the client has left, the input has ended, and the program goes on: Docker reads what it writes.
    """

    def carry_input() -> None:
        with suppress(OSError):
            for data in channels.read(resize):
                if data and asked["stdin"]:
                    hijacked.send(data)
                elif asked["stdin"]:
                    hijacked.close_input()
        hijacked.close()

    threading.Thread(target=carry_input, daemon=True).start()
    for stream, data in hijacked.read_frames(is_terminal=asked["tty"]):
        if data.startswith(_NOT_RUN):
            hijacked.close()
            return data
        try:
            if asked["stderr"] if stream == 2 else asked["stdout"]:
                channels.write(stream or STDOUT, data)
        except OSError:
            break
    hijacked.close()
    return b""


def _failure(text: str) -> dict[str, Any]:
    where = "error executing command in container: failed to exec in container: failed to start exec"
    return status.internal(f"{where}: {text}").body


def _exit_status(code: int) -> dict[str, Any]:
    if not code:
        return _SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
