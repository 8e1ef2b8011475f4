"""The Docker Engine API, spoken over engine.docker.transport, as the protocol of engine.api."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from msgspec.structs import replace

from pytest_isolate.engine.api import BuildRequest, Capability, EngineFacts, Event, Labelled, ProgressCallback
from pytest_isolate.engine.docker.exec_api import ExecApi
from pytest_isolate.engine.docker.image_api import ImageApi, image_path, load_sdk
from pytest_isolate.engine.docker.network_api import NetworkApi
from pytest_isolate.engine.docker.remover import as_query, label_filter
from pytest_isolate.engine.docker.transport.client import open_http
from pytest_isolate.engine.docker.transport.streams import JsonStream
from pytest_isolate.engine.docker.wire import death, has_labels, network_names
from pytest_isolate.errors import EngineUnreachable, ObjectNotFound


class DockerEngine(ExecApi, NetworkApi, ImageApi):
    """A Docker engine (20.10 or newer), or one that speaks its API."""

    def facts(self) -> EngineFacts:
        version, dialect, reach = self._http.version(), self._dialect(), self._reach
        return EngineFacts(
            name=dialect.name,
            version=version["Version"],
            address=self._http.address,
            is_local=reach.is_local,
            shares_kernel=reach.can_hold_ports,
            shares_files=reach.shares_files,
            machine=str(version.get("Arch", "")),
            # A loopback address of this host is not one of another engine's, and forwarders know 127.0.0.1 only.
            capabilities=dialect.capabilities - (set() if reach.can_hold_ports else {Capability.NATIVE_PORTS}),
            host=reach.host,
            publish_on=reach.publish_on,
            memory_bytes=self._machine.memory_bytes,
        )

    def close(self) -> None:
        self._http.close()

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        body = {"Name": name, "Labels": dict(labels)}
        self._http.ask(f"volume {name} could not be made", "POST", "/volumes/create", body=body)

    def find_labelled(self, label: str) -> Sequence[Labelled]:
        what, query = "the labelled objects could not be listed", as_query({"label": [label]})
        containers = self._http.ask(what, "GET", "/containers/json", query={"all": "true", **query}).json()
        networks = self._list_networks(query)
        volumes = self._http.ask(what, "GET", "/volumes", query=query).json()["Volumes"] or ()
        found = [("container", c["Id"], c["Names"][0].lstrip("/"), c["Labels"]) for c in containers]
        found += [("network", *network_names(n)) for n in networks]
        found += [("volume", v["Name"], v["Name"], v["Labels"]) for v in volumes]
        return [Labelled(kind=k, object_id=i, name=n, labels=labels or {}) for k, i, n, labels in found]

    def watch(self, labels: Mapping[str, str]) -> DockerEvents:
        filters = {"type": ["container"], "event": list(self._dialect().exit_events), **label_filter(labels)}
        events = self._http.stream_json("the engine's event stream broke", "/events", as_query(filters))
        return DockerEvents(events, labels)


class DockerEvents:
    """The engine's event stream, reduced to deaths."""

    def __init__(self, stream: JsonStream, labels: Mapping[str, str]) -> None:
        self._stream = stream
        self._labels = labels

    def __iter__(self) -> Iterator[Event]:
        # Podman lets through what has any one of the labels.
        return (death(event) for event in self._stream if has_labels(event, self._labels))

    def close(self) -> None:
        self._stream.close()


class DockerPusher:
    """Builds images for engines that build none, and pushes them below an address such as `registry.example/tests`."""

    def __init__(self, registry: str, env: Mapping[str, str]) -> None:
        self._registry = registry.rstrip("/")
        self._env = env

    def name_of(self, image: str) -> str:
        """The name in the registry of an image that was built here."""
        return f"{self._registry}/{image}"

    def push(self, request: BuildRequest, tell: ProgressCallback) -> None:
        """Build an image, and push it; EngineUnreachable where no Docker answers."""
        client = open_http(self._env)
        with closing(DockerEngine(client)) as engine:
            name = self.name_of(request.tag)
            engine.build_image(replace(request, tag=name), tell)
            load_sdk().push(client, name, tell)


class LocalDocker:
    """The images of the Docker that answers."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def build(self, request: BuildRequest, tell: ProgressCallback) -> None:
        """Build an image, and leave it there; EngineUnreachable where no Docker answers."""
        with closing(DockerEngine(open_http(self._env))) as engine:
            engine.build_image(request, tell)

    def read_image(self, image: str) -> Mapping[str, Any] | None:
        """An image as the API describes it; None where it is not there, or no Docker answers."""
        try:
            with closing(open_http(self._env)) as client:
                found = client.ask(f"image {image} could not be looked up", "GET", f"{image_path(image)}/json").json()
        except (EngineUnreachable, ObjectNotFound):
            return None
        return dict(found)
