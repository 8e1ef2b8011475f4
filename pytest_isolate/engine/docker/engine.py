"""The Docker Engine API, spoken over engine.http; only pulling and building go through engine.sdk."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from urllib.parse import quote

from msgspec.structs import replace

from pytest_isolate.engine.api import (
    BuildRequest,
    ContainerRequest,
    ContainerState,
    ContainerUsage,
    EngineFacts,
    Event,
    ExecResult,
    ImageFacts,
    Labelled,
    LogLine,
    ProgressCallback,
)
from pytest_isolate.engine.docker import cgroups
from pytest_isolate.engine.docker.dialects import plain_name
from pytest_isolate.engine.docker.host import HERE, Machine, PublishAddress, ask_machine, find_publish_address
from pytest_isolate.engine.docker.pull_errors import Pull, pull_failed
from pytest_isolate.engine.docker.remover import Remover, gone_is_fine
from pytest_isolate.engine.docker.transport.client import Http, open_http
from pytest_isolate.engine.docker.transport.streams import JsonStream, LogFollower, RawConnection
from pytest_isolate.engine.docker.wire import (
    FRAME_HEAD_BYTES,
    as_query,
    build_failed,
    container_body,
    container_state,
    container_usage,
    death,
    dropped_limits,
    has_labels,
    health_command,
    image_platform,
    is_attached,
    label_filter,
    log_lines,
    network_names,
    network_subnets,
    split_frames,
    split_tag,
    take_frame,
)
from pytest_isolate.errors import EngineError, ObjectNotFound

_REQUEST_TIMEOUT_S = 60
_SOCKS = "urllib3.contrib.socks"


def connect(env: Mapping[str, str] = os.environ) -> DockerEngine:
    """The first engine that answers; EngineUnreachable lists every address with its answer."""
    return DockerEngine(open_http(env))


def load_sdk() -> ModuleType:
    """The module engine.sdk, imported when it is first needed, in whatever thread that is.

    Where PySocks is missing, a library below the SDK warns of it before it does without, and its user switches that
    warning off. But filters of warnings belong to the whole process, and pytest puts back its own meanwhile: where
    warnings are errors, the import would fail by chance. So it is told at once that there is no such module.
    """
    if find_spec("socks") is None:
        sys.modules.setdefault(_SOCKS, cast(ModuleType, None))
    try:
        return import_module("pytest_isolate.engine.docker.sdk")
    finally:
        if sys.modules.get(_SOCKS, sys) is None:
            sys.modules.pop(_SOCKS, None)


class DockerEngine(Remover):
    """A Docker engine (20.10 or newer), or one that speaks its API."""

    def __init__(self, client: Http) -> None:
        super().__init__(client)
        self._dropped: set[str] = set()

    @cached_property
    def _reach(self) -> PublishAddress:
        what = "the container around this process could not be inspected"
        return find_publish_address(
            self._http.address,
            lambda own_id: self._http.ask(what, "GET", f"/containers/{quote(own_id)}/json").json(),
        )

    @cached_property
    def _machine(self) -> Machine:
        """Asked for where it may be another one. All moments that this class takes and tells are this machine's."""
        if self._reach.is_local:
            return HERE
        return ask_machine(lambda: self._http.ask("the engine did not tell of itself", "GET", "/info").json())

    def facts(self) -> EngineFacts:
        """Which engine this is."""
        version, dialect, reach = self._http.version(), self._dialect(), self._reach
        return EngineFacts(
            name=dialect.name,
            version=version["Version"],
            address=self._http.address,
            is_local=reach.is_local,
            machine=str(version.get("Arch", "")),
            has_memory_folders=dialect.has_memory_folders,
            host=reach.host,
            publish_on=reach.publish_on,
            memory_bytes=self._machine.memory_bytes,
        )

    def close(self) -> None:
        """End the connections that wait for another request; event streams are closed by themselves."""
        self._http.close()

    def find_image(self, image: str) -> ImageFacts | None:
        """The image, if the engine has it."""
        try:
            reply = self._http.ask(
                f"image {image} could not be looked up", "GET", f"/images/{quote(image, '/:@')}/json"
            )
        except ObjectNotFound:
            return None
        found = reply.json()
        config = found.get("Config") or {}
        if self._dialect().image_details:
            path = self._dialect().image_details.format(quote(found["Id"]))
            config = {**config, **self._http.ask(f"image {image} could not be looked up", "GET", path).json()}
        command = health_command(config)
        return ImageFacts(image_id=found["Id"], health_command=command, platform=image_platform(found))

    def pull_image(self, image: str, tell: ProgressCallback, platform: str | None = None) -> ImageFacts:
        """The image, pulled, of that platform or the engine's own; ImageNotFound says what the registry answered."""
        load_sdk().pull(self._http, image, tell, platform)
        facts = self.find_image(image)
        if facts is None:
            raise pull_failed(Pull(image), "the pull ended, but the image is not there")
        return facts

    def build_image(self, request: BuildRequest, tell: ProgressCallback) -> ImageFacts:
        """The image, built and tagged; BuildFailed names the step and shows its last lines."""
        load_sdk().build(self._http, request, tell)
        facts = self.find_image(request.tag)
        if facts is None:
            raise build_failed(request, "", ["the build ended, but the image is not there"])
        return facts

    def host_address(self) -> str:
        """The address of the engine's host for containers; empty where the engine does not tell."""
        try:
            found = self._http.ask("the engine's bridge could not be inspected", "GET", "/networks/bridge").json()
        except ObjectNotFound:
            return ""
        configs = (found.get("IPAM") or {}).get("Config") or ()
        return next((str(c["Gateway"]) for c in configs if c.get("Gateway")), "")

    def used_subnets(self) -> Sequence[str]:
        """The subnets of every network on the engine, ours or not."""
        return [subnet for network in self._list_networks({}) for subnet in network_subnets(network)]

    def create_network(self, name: str, subnet: str, labels: Mapping[str, str]) -> str:
        """A bridge of its own with this subnet; SubnetTaken when another network overlaps."""
        ipam = {"Driver": "default", "Config": [{"Subnet": subnet}]}
        body = {"Name": name, "Driver": "bridge", "IPAM": ipam, "Labels": dict(labels)}
        made = self._http.ask(f"network {name} ({subnet}) could not be made", "POST", "/networks/create", body=body)
        return str(made.json()["Id"])

    def attach(self, network_id: str, container_id: str, aliases: Sequence[str]) -> None:
        """Make a container reachable on one more network, under these names; one that is on it already is fine."""
        what = "a container could not be attached to a network"
        body = {"Container": container_id, "EndpointConfig": {"Aliases": list(aliases)}}
        try:
            self._http.ask(what, "POST", f"/networks/{quote(network_id)}/connect", body=body)
        except EngineError as error:
            if not is_attached(str(error)):
                raise

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """A named volume; one of this name that is there already is used."""
        body = {"Name": name, "Labels": dict(labels)}
        self._http.ask(f"volume {name} could not be made", "POST", "/volumes/create", body=body)

    def create_container(self, request: ContainerRequest) -> str:
        """The id of a container that is not started yet."""
        what, query = f"container {request.name} could not be made", {"name": request.name}
        made = self._http.ask(what, "POST", "/containers/create", query=query, body=container_body(request))
        answer = made.json()
        self._note_dropped(answer, request)
        return str(answer["Id"])

    def dropped_limits(self) -> Collection[str]:
        """Which limits containers that were made here should have had and do not have."""
        return self._dropped

    def _note_dropped(self, answer: Mapping[str, Any], request: ContainerRequest) -> None:
        """See which limits a new container has; Docker says whether there is anything to see."""
        told = any("discarded" in text for text in answer.get("Warnings") or ())
        if told or self._dialect().drops_silently:
            what, path = "a container could not be inspected", f"/containers/{quote(answer['Id'])}/json"
            self._dropped |= dropped_limits(request, self._http.ask(what, "GET", path).json())

    def save_archive(self, container_id: str, path: str, file: Path, most_bytes: int) -> bool:
        """Write a file or folder of a container to a tar archive on this host, under its own name.

        False, and the archive is of no use, where it would take more bytes than that.
        """
        what = f"{path} could not be copied out of a container"
        return self._http.save(what, f"/containers/{quote(container_id)}/archive", {"path": path}, file, most_bytes)

    def copy_into(self, container_id: str, archive: bytes) -> None:
        """Unpack a tar archive at the root of a container."""
        what, path = "files could not be copied into a container", f"/containers/{quote(container_id)}/archive"
        self._http.ask(what, "PUT", path, query={"path": "/"}, archive=archive)

    def start_container(self, container_id: str) -> None:
        """Start a container; PortTaken when a port that it publishes is in use."""
        self._tell(container_id, "start", "started")

    def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Ask a container to stop, and kill it after the time-out."""
        what, path = "a container could not be stopped", f"/containers/{quote(container_id)}/stop"
        self._http.ask(what, "POST", path, query={"t": timeout_s}, timeout_s=_REQUEST_TIMEOUT_S + timeout_s)

    def kill_container(self, container_id: str) -> None:
        """End a container at once; one that does not run is fine."""
        try:
            self._tell(container_id, "kill", "killed")
        except EngineError:
            if self.inspect_container(container_id).is_running:
                raise

    def pause_container(self, container_id: str) -> None:
        """Freeze all processes of a container."""
        self._tell(container_id, "pause", "paused")

    def unpause_container(self, container_id: str) -> None:
        """Let a paused container go on."""
        self._tell(container_id, "unpause", "unpaused")

    def inspect_container(self, container_id: str) -> ContainerState:
        """How a container is right now."""
        what, path = "a container could not be inspected", f"/containers/{quote(container_id)}/json"
        state = container_state(self._http.ask(what, "GET", path).json())
        ahead_s = self._machine.clock_offset_s
        # Zero means never.
        started_at, ended_at = (at and at - ahead_s for at in (state.started_at, state.ended_at))
        return replace(state, started_at=started_at, ended_at=ended_at) if ahead_s else state

    def read_usage(self, container_id: str) -> ContainerUsage | None:
        """What a container takes; None where it does not run."""
        seen = cgroups.count(container_id)
        if seen:
            return ContainerUsage(memory_bytes=max(0, seen.memory_bytes - seen.idle_bytes), cpu_s=seen.cpu_s)
        what, path = "a container's usage could not be read", f"/containers/{quote(container_id)}/stats"
        # "One shot": the engine does not wait for a second look, which takes it a second.
        query = {"stream": "false", "one-shot": "true"}
        told = self._http.ask(what, "GET", path, query=query)
        # Podman says nothing at all of one that has ended.
        return container_usage(told.json()) if told.content else None

    def read_logs(self, container_id: str, *, tail: int | None = None, since: float = 0, stream: str = "") -> str:
        """What a container wrote to stdout and stderr, or to the stream of that name, from `since` (epoch) on."""
        what, path = "a container's log could not be read", f"/containers/{quote(container_id)}/logs"
        streams = dict.fromkeys([stream] if stream else ["stdout", "stderr"], "true")
        query = {**streams, "tail": "all" if tail is None else tail}
        if since:
            query["since"] = f"{since + self._machine.clock_offset_s:.6f}"
        raw = self._http.ask(what, "GET", path, query=query).content
        return b"".join(text for _, text in split_frames(raw)).decode(errors="replace")

    def follow_log(self, container_id: str, tail: int) -> DockerLogTail:
        """What a container writes to stdout and stderr, from so many lines before now on."""
        what, path = "a container's log could not be followed", f"/containers/{quote(container_id)}/logs"
        query = {"stdout": "true", "stderr": "true", "follow": "true", "tail": tail}
        is_late = self._dialect().answers_with_first_line
        if is_late:
            self.inspect_container(container_id)
        return DockerLogTail(self._http.follow(what, path, query, begins_late=is_late))

    def read_log_lines(self, container_id: str, since: float) -> Sequence[LogLine]:
        """What a container wrote to stdout and stderr from `since` (seconds of the epoch) on, line by line."""
        what, path = "a container's log could not be read", f"/containers/{quote(container_id)}/logs"
        # A little further back than wanted: numbers here are less exact than the moments of the engine.
        ahead_s = self._machine.clock_offset_s
        start = max(0.0, since + ahead_s - 0.001)
        query = {"stdout": "true", "stderr": "true", "timestamps": "true", "since": f"{start:.6f}"}
        lines = log_lines(self._http.ask(what, "GET", path, query=query).content)
        if ahead_s:
            lines = [replace(line, when=line.when - ahead_s) for line in lines]
        if self._dialect().whole_seconds:
            return [LogLine(max(line.when, since), line.text) for line in lines]
        return [line for line in lines if line.when >= since]

    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult:
        """Run a command in a container and wait for its end."""
        what, path = (
            f"the command {argv[0]!r} could not be run in a container",
            f"/containers/{quote(container_id)}/exec",
        )
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(argv)}
        command = f"/exec/{self._http.ask(what, 'POST', path, body=body).json()['Id']}"
        output = self._http.ask(what, "POST", f"{command}/start", body={"Detach": False, "Tty": False}, timeout_s=None)
        frames = list(split_frames(output.content))
        stdout, stderr = (b"".join(text for stream, text in frames if stream == number) for number in (1, 2))
        code = self._http.ask(what, "GET", f"{command}/json").json()["ExitCode"]
        return ExecResult(
            exit_code=int(code), stdout=stdout.decode(errors="replace"), stderr=stderr.decode(errors="replace")
        )

    def open_session(self, container_id: str, argv: Sequence[str], env: Mapping[str, str]) -> DockerSession:
        """Start a command in a container, with these variables besides the container's own, and talk to it."""
        what = f"the command {argv[0]!r} could not be run in a container"
        body = {
            **{f"Attach{stream}": True for stream in ("Stdin", "Stdout", "Stderr")},
            "Cmd": list(argv),
            "Env": [f"{name}={value}" for name, value in env.items()],
        }
        path = f"/containers/{quote(container_id)}/exec"
        command = f"/exec/{self._http.ask(what, 'POST', path, body=body).json()['Id']}"
        line = self._http.hijack(what, f"{command}/start", {"Detach": False, "Tty": False})
        return DockerSession(line, lambda: int(self._http.ask(what, "GET", f"{command}/json").json()["ExitCode"]))

    def list_images(self, label: str) -> Sequence[Labelled]:
        """Every tagged image that carries a label of this name, by its tag."""
        query, dialect = as_query({"label": [label]}), self._dialect()
        images = self._http.ask("the images could not be listed", "GET", "/images/json", query=query).json()
        return [
            Labelled(kind="image", object_id=i["Id"], name=plain_name(dialect, tag), labels=dict(i["Labels"] or {}))
            for i in images
            for tag in i["RepoTags"] or ()
        ]

    def tag_image(self, image: str, tag: str) -> None:
        """Give an image one more name, also where another one has had it."""
        name, version = split_tag(tag)
        what = f"image {image} could not be called {tag}"
        self._http.ask(what, "POST", f"{_image_path(image)}/tag", query={"repo": name, "tag": version})

    def remove_image(self, tag: str) -> None:
        """Take a tag away, and the image with its last one; one that is gone is fine."""
        with gone_is_fine():
            self._http.ask(f"image {tag} could not be removed", "DELETE", _image_path(tag))

    def find_labelled(self, label: str) -> Sequence[Labelled]:
        """Every container, network and volume that carries a label of this name, whatever its value."""
        what, query = "the labelled objects could not be listed", as_query({"label": [label]})
        containers = self._http.ask(what, "GET", "/containers/json", query={"all": "true", **query}).json()
        networks = self._list_networks(query)
        volumes = self._http.ask(what, "GET", "/volumes", query=query).json()["Volumes"] or ()
        found = [("container", c["Id"], c["Names"][0].lstrip("/"), c["Labels"]) for c in containers]
        found += [("network", *network_names(n)) for n in networks]
        found += [("volume", v["Name"], v["Name"], v["Labels"]) for v in volumes]
        return [Labelled(kind=k, object_id=i, name=n, labels=labels or {}) for k, i, n, labels in found]

    def watch(self, labels: Mapping[str, str]) -> DockerEvents:
        """Deaths of containers with these labels, as they happen."""
        filters = {"type": ["container"], "event": list(self._dialect().exit_events), **label_filter(labels)}
        return DockerEvents(
            self._http.stream_json("the engine's event stream broke", "/events", as_query(filters)), labels
        )

    def _tell(self, container_id: str, verb: str, done: str) -> None:
        self._http.ask(f"a container could not be {done}", "POST", f"/containers/{quote(container_id)}/{verb}")


class DockerLogTail:
    """A log that is being followed."""

    def __init__(self, tail: LogFollower) -> None:
        self._tail = tail

    def read_to_end(self, timeout_s: float) -> str:
        """All of it, when the container has ended."""
        return b"".join(text for _, text in split_frames(self._tail.read(timeout_s))).decode(errors="replace")

    def close(self) -> None:
        """Let go of it. Safe to repeat."""
        self._tail.close()


class DockerSession:
    """A command that runs in a container, over the connection that the engine has handed over to it."""

    def __init__(self, line: RawConnection, exit_code: Callable[[], int]) -> None:
        self._line = line
        self._received = b""
        self._ask_exit_code = exit_code

    def send(self, text: bytes) -> None:
        """Write to its input."""
        self._line.send(text)

    def receive(self, timeout_s: float) -> tuple[int, bytes] | None:
        """What it writes next and where to; None when it has ended."""
        while (frame := take_frame(self._received)) is None:
            piece = self._line.receive(timeout_s)
            if not piece:
                return None
            self._received += piece
        stream, text = frame
        self._received = self._received[FRAME_HEAD_BYTES + len(text) :]
        return stream, text

    def exit_code(self) -> int:
        """How it ended."""
        return self._ask_exit_code()

    def close(self) -> None:
        """Let go of it: its input ends."""
        self._line.close()


class DockerEvents:
    """The engine's event stream, reduced to deaths."""

    def __init__(self, stream: JsonStream, labels: Mapping[str, str]) -> None:
        self._stream = stream
        self._labels = labels

    def __iter__(self) -> Iterator[Event]:
        # Podman lets through what has any one of the labels.
        return (death(event) for event in self._stream if has_labels(event, self._labels))

    def close(self) -> None:
        """End the iteration, in whichever thread it runs."""
        self._stream.close()


def _image_path(image: str) -> str:
    return f"/images/{quote(image, '/:@')}"
