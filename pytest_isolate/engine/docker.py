"""The Docker Engine API through the docker SDK's low-level client. The only module that imports docker."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound, StreamParseError

from pytest_isolate.engine.api import (
    BuildRequest,
    ContainerRequest,
    ContainerState,
    EngineFacts,
    Event,
    ExecResult,
    ImageFacts,
    Labelled,
    Progress,
)
from pytest_isolate.engine.discovery import Candidate, find_candidates, read_docker_context
from pytest_isolate.engine.wire import (
    build_failed,
    container_body,
    default_tag,
    health_command,
    image_not_found,
    is_attached,
    is_in_use,
    label_filter,
    plain_text,
    refusal_error,
)
from pytest_isolate.errors import (
    EngineError,
    EngineUnreachable,
    ImageNotFound,
    ObjectNotFound,
)

# An engine that is there answers a ping within milliseconds; one behind ssh needs a moment.
_CONNECT_TIMEOUT_S = 10
# The longest single request: removing a container with a large volume took 1.7 s, so a minute means trouble.
_REQUEST_TIMEOUT_S = 60
_LOCAL = ("unix://", "npipe://", "http+unix://")
_LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
# Streams are read below requests: what breaks them comes from urllib3, or as a piece of JSON without its end.
_TRANSPORT_ERRORS = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    StreamParseError,
    OSError,
)


def connect(env: Mapping[str, str] = os.environ) -> DockerEngine:
    """The first engine that answers; EngineUnreachable lists every address with its answer."""
    candidates = find_candidates(env, lambda: read_docker_context(env, Path.home()), os.getuid())
    answers = []
    for candidate in candidates:
        refusal = _unixrefusal_error(candidate.address)
        if refusal:
            answers.append(f"{candidate.address or 'no address'} ({candidate.named_by}): {refusal}")
            continue
        try:
            return DockerEngine(_open(candidate, env), candidate.address)
        except (DockerException, *_TRANSPORT_ERRORS) as error:
            answers.append(f"{candidate.address} ({candidate.named_by}): {_innermost(error)}")
    raise EngineUnreachable(
        "no container engine answers",
        tried=answers,
        do="start one (on Debian: apt-get install docker.io; dockerd &), or name it in DOCKER_HOST",
    )


def _unixrefusal_error(address: str) -> str:
    """Why nothing answers at a unix socket. docker's own client leaves a socket open for each one that refuses."""
    if not address:
        return "there is no such context"
    if not address.startswith("unix://"):
        return ""
    path = address.removeprefix("unix://")
    if not Path(path).exists():
        return "no such socket"
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _open(candidate: Candidate, env: Mapping[str, str]) -> docker.APIClient:
    options: dict[str, Any] = {"base_url": candidate.address, "timeout": _CONNECT_TIMEOUT_S, "max_pool_size": 32}
    if env.get("DOCKER_TLS_VERIFY") and candidate.address.startswith("tcp://"):
        folder = env.get("DOCKER_CERT_PATH") or str(Path.home() / ".docker")
        options["tls"] = docker.tls.TLSConfig(
            client_cert=(f"{folder}/cert.pem", f"{folder}/key.pem"), ca_cert=f"{folder}/ca.pem", verify=True
        )
    client = docker.APIClient(**options)
    client.timeout = _REQUEST_TIMEOUT_S
    return client


def _innermost(error: BaseException) -> str:
    """The cause that says most: libraries wrap "permission denied" in several layers."""
    for current in _chain(error):
        if isinstance(current, OSError) and current.strerror:
            return current.strerror
    return str(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield from (arg for arg in error.args if isinstance(arg, BaseException))
        yield error
        error = error.__cause__ or error.__context__


class DockerEngine:
    """A Docker engine (20.10 or newer), or one that speaks its API."""

    def __init__(self, client: docker.APIClient, address: str) -> None:
        self._client = client
        self._address = address

    def facts(self) -> EngineFacts:
        """Which engine this is."""
        with self._translated("the engine did not say its version"):
            version = self._client.version()
        name = "Podman" if any(c.get("Name") == "Podman Engine" for c in version.get("Components", ())) else "Docker"
        local = self._address.startswith(_LOCAL) or urlsplit(self._address).hostname in _LOOPBACK_HOSTS
        return EngineFacts(name=name, version=version["Version"], address=self._address, is_local=local)

    def close(self) -> None:
        """Close the connections to the engine."""
        self._client.close()

    def find_image(self, image: str) -> ImageFacts | None:
        """The image, if the engine has it."""
        try:
            with self._translated(f"image {image} could not be looked up"):
                found = self._client.inspect_image(image)
        except ObjectNotFound:
            return None
        return ImageFacts(image_id=found["Id"], health_command=health_command(found.get("Config") or {}))

    def pull_image(self, image: str, progress: Progress) -> ImageFacts:
        """The image, pulled; ImageNotFound says what the registry answered."""
        try:
            with self._translated(f"image {image} could not be pulled"):
                for line in self._client.pull(image, **default_tag(image), stream=True, decode=True):
                    if "error" in line:
                        raise image_not_found(image, line["error"])
                    progress(str(line.get("status", "")))
        except (EngineUnreachable, ImageNotFound):
            raise
        except EngineError as error:
            raise image_not_found(image, "\n".join(error.found)) from error
        facts = self.find_image(image)
        if facts is None:
            raise image_not_found(image, "the pull ended, but the image is not there")
        return facts

    def build_image(self, request: BuildRequest, progress: Progress) -> ImageFacts:
        """The image, built and tagged; BuildFailed names the step and shows its last lines."""
        context, dockerfile = Path(request.context), Path(request.dockerfile)
        inside = dockerfile.is_relative_to(context)
        step = ""
        output: list[str] = []
        with self._translated(f"the image {request.tag} could not be built"):
            for line in self._client.build(
                path=request.context,
                dockerfile=str(dockerfile.relative_to(context)) if inside else request.dockerfile,
                tag=request.tag,
                buildargs=dict(request.args),
                target=request.target,
                network_mode=request.network,
                rm=True,
                forcerm=True,
                decode=True,
            ):
                if "error" in line:
                    raise build_failed(request, step, [*output, line["error"].strip()])
                text = plain_text(str(line.get("stream", ""))).rstrip()
                if text.startswith("Step "):
                    step, output = text, []
                    progress(text)
                elif text and not text.startswith((" --->", "Removing intermediate container")):
                    output.append(text)
        facts = self.find_image(request.tag)
        if facts is None:
            raise build_failed(request, step, ["the build ended, but the image is not there"])
        return facts

    def used_subnets(self) -> Sequence[str]:
        """The subnets of every network on the engine, ours or not."""
        with self._translated("the networks could not be listed"):
            networks = self._client.networks()
        configs = (c for n in networks for c in (n.get("IPAM") or {}).get("Config") or ())
        return [c["Subnet"] for c in configs if c.get("Subnet")]

    def create_network(self, name: str, subnet: str, labels: Mapping[str, str]) -> str:
        """A bridge of its own with this subnet; SubnetTaken when another network overlaps."""
        ipam = {"Driver": "default", "Config": [{"Subnet": subnet}]}
        with self._translated(f"network {name} ({subnet}) could not be made"):
            made = self._client.create_network(name, driver="bridge", ipam=ipam, labels=dict(labels))
        return str(made["Id"])

    def attach(self, network_id: str, container_id: str, aliases: Sequence[str]) -> None:
        """Make a container reachable on one more network, under these names; one that is on it already is fine."""
        with self._translated("a container could not be attached to a network"):
            try:
                self._client.connect_container_to_network(container_id, network_id, aliases=list(aliases))
            except APIError as error:
                if not is_attached(str(error.explanation)):
                    raise

    def detach(self, network_id: str, container_id: str) -> None:
        """Take a container off a network; one that is off it, or gone, is fine."""
        with self._gone_is_fine(), self._translated("a container could not be detached from a network"):
            self._client.disconnect_container_from_network(container_id, network_id, force=True)

    def remove_network(self, network_id: str) -> None:
        """Remove a network and detach what is still on it; one that is gone is fine."""
        with self._gone_is_fine(), self._translated(f"network {network_id} could not be removed"):
            try:
                self._client.remove_network(network_id)
            except APIError as error:
                if not is_in_use(str(error.explanation)):
                    raise
                for container_id in self._client.inspect_network(network_id)["Containers"]:
                    self.detach(network_id, container_id)
                self._client.remove_network(network_id)

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """A named volume; one of this name that is there already is used."""
        with self._translated(f"volume {name} could not be made"):
            self._client.create_volume(name, labels=dict(labels))

    def remove_volume(self, name: str) -> None:
        """Remove a volume; one that is gone is fine."""
        with self._gone_is_fine(), self._translated(f"volume {name} could not be removed"):
            self._client.remove_volume(name, force=True)

    def create_container(self, request: ContainerRequest) -> str:
        """The id of a container that is not started yet."""
        with self._translated(f"container {request.name} could not be made"):
            made = self._client.create_container_from_config(container_body(request), request.name)
        return str(made["Id"])

    def save_archive(self, container_id: str, path: str, file: Path) -> None:
        """Write a file or folder of a container to a tar archive on this host, under its own name."""
        with self._translated(f"{path} could not be copied out of a container"):
            chunks, _ = self._client.get_archive(container_id, path)
            with file.open("wb") as archive:
                archive.writelines(chunks)

    def copy_into(self, container_id: str, archive: bytes) -> None:
        """Unpack a tar archive at the root of a container."""
        with self._translated("files could not be copied into a container"):
            self._client.put_archive(container_id, "/", archive)

    def start_container(self, container_id: str) -> None:
        """Start a container; PortTaken when a port that it publishes is in use."""
        with self._translated("a container could not be started"):
            self._client.start(container_id)

    def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Ask a container to stop, and kill it after the time-out."""
        with self._translated("a container could not be stopped"):
            self._client.stop(container_id, timeout=timeout_s)

    def kill_container(self, container_id: str) -> None:
        """End a container at once; one that does not run is fine."""
        try:
            with self._translated("a container could not be killed"):
                self._client.kill(container_id)
        except EngineError:
            if self.inspect_container(container_id).is_running:
                raise

    def pause_container(self, container_id: str) -> None:
        """Freeze all processes of a container."""
        with self._translated("a container could not be paused"):
            self._client.pause(container_id)

    def unpause_container(self, container_id: str) -> None:
        """Let a paused container go on."""
        with self._translated("a container could not be unpaused"):
            self._client.unpause(container_id)

    def remove_container(self, container_id: str) -> None:
        """Kill and remove a container with its anonymous volumes; one that is gone, or going, is fine."""
        with self._gone_is_fine(), self._translated(f"container {container_id[:12]} could not be removed"):
            self._client.remove_container(container_id, v=True, force=True)

    def inspect_container(self, container_id: str) -> ContainerState:
        """How a container is right now."""
        with self._translated("a container could not be inspected"):
            found = self._client.inspect_container(container_id)
        state = found["State"]
        running = bool(state["Running"])
        published = (found.get("NetworkSettings") or {}).get("Ports") or {}
        return ContainerState(
            is_running=running,
            is_paused=bool(state.get("Paused")),
            exit_code=None if running or state["Status"] == "created" else int(state["ExitCode"]),
            is_out_of_memory=bool(state.get("OOMKilled")),
            ports={int(k.split("/")[0]): int(v[0]["HostPort"]) for k, v in published.items() if v},
        )

    def read_logs(self, container_id: str, *, tail: int | None = None, since: float = 0) -> str:
        """What a container wrote to stdout and stderr, from `since` (seconds of the epoch) on."""
        with self._translated("a container's log could not be read"):
            raw = self._client.logs(container_id, tail="all" if tail is None else tail, since=since or None)
        return bytes(raw).decode(errors="replace")

    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult:
        """Run a command in a container and wait for its end."""
        with self._translated(f"the command {argv[0]!r} could not be run in a container"):
            exec_id = self._client.exec_create(container_id, list(argv))["Id"]
            stdout, stderr = self._client.exec_start(exec_id, demux=True)
            code = self._client.exec_inspect(exec_id)["ExitCode"]
        return ExecResult(
            exit_code=int(code),
            stdout=(stdout or b"").decode(errors="replace"),
            stderr=(stderr or b"").decode(errors="replace"),
        )

    def list_containers(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The ids of all containers that carry these labels, running or not."""
        with self._translated("the containers could not be listed"):
            return [str(c["Id"]) for c in self._client.containers(all=True, filters=label_filter(labels))]

    def list_networks(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The ids of all networks that carry these labels."""
        with self._translated("the networks could not be listed"):
            return [str(n["Id"]) for n in self._client.networks(filters=label_filter(labels))]

    def list_volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The names of all volumes that carry these labels."""
        with self._translated("the volumes could not be listed"):
            return [str(v["Name"]) for v in self._client.volumes(filters=label_filter(labels))["Volumes"] or ()]

    def list_images(self, label: str) -> Sequence[Labelled]:
        """Every tagged image that carries a label of this name, by its tag."""
        with self._translated("the images could not be listed"):
            images = self._client.images(filters={"label": [label]})
        return [
            Labelled(kind="image", object_id=i["Id"], name=tag, labels=dict(i["Labels"] or {}))
            for i in images
            for tag in i["RepoTags"] or ()
        ]

    def remove_image(self, tag: str) -> None:
        """Take a tag away, and the image with its last one; one that is gone is fine."""
        with self._gone_is_fine(), self._translated(f"image {tag} could not be removed"):
            self._client.remove_image(tag)

    def find_labelled(self, label: str) -> Sequence[Labelled]:
        """Every container, network and volume that carries a label of this name, whatever its value."""
        filters = {"label": [label]}
        with self._translated("the labelled objects could not be listed"):
            containers = self._client.containers(all=True, filters=filters)
            networks = self._client.networks(filters=filters)
            volumes = self._client.volumes(filters=filters)["Volumes"] or ()
        found = [("container", c["Id"], c["Names"][0].lstrip("/"), c["Labels"]) for c in containers]
        found += [("network", n["Id"], n["Name"], n["Labels"]) for n in networks]
        found += [("volume", v["Name"], v["Name"], v["Labels"]) for v in volumes]
        return [Labelled(kind=k, object_id=i, name=n, labels=labels or {}) for k, i, n, labels in found]

    def watch(self, labels: Mapping[str, str]) -> DockerEvents:
        """Deaths of containers with these labels, as they happen."""
        filters = {"type": "container", "event": "die", **label_filter(labels)}
        with self._translated("the engine's events could not be read"):
            return DockerEvents(self._client.events(filters=filters, decode=True))

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except NotFound as error:
            raise ObjectNotFound(what, found=[_explanation(error)]) from error
        except APIError as error:
            raise refusal_error(what, _explanation(error)) from error
        except DockerException as error:
            raise EngineError(what, found=[str(error)]) from error
        except _TRANSPORT_ERRORS as error:
            raise EngineUnreachable(
                what,
                tried=[self._address],
                found=[f"the engine does not answer (any more): {_innermost(error)}"],
                do="see whether the engine still runs and what its own log says",
            ) from error

    @contextmanager
    def _gone_is_fine(self) -> Iterator[None]:
        try:
            yield
        except ObjectNotFound:
            pass
        except EngineError as error:
            # Somebody else (the engine's own --rm, a second clean-up) is removing it at this moment.
            if not any(text in str(error) for text in ("already in progress", "is not connected to")):
                raise


class DockerEvents:
    """The engine's event stream, reduced to deaths."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Event]:
        try:
            for event in self._stream:
                attributes = (event.get("Actor") or {}).get("Attributes") or {}
                yield Event(container_id=event["Actor"]["ID"], exit_code=int(attributes.get("exitCode") or 0))
        except (DockerException, *_TRANSPORT_ERRORS) as error:
            raise EngineUnreachable("the engine's event stream broke", found=[_innermost(error)]) from error

    def close(self) -> None:
        """End the iteration, in whichever thread it runs."""
        self._stream.close()


def _explanation(error: APIError) -> str:
    text = error.explanation or str(error)
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
