"""Kubernetes as the protocol of engine.api: containers are pods of one namespace, held by our first process.

The id of a container is the name of its pod. Networks are names: see pod_hosts. Ports go through a publisher, which
`Ports` describes; without one none can be published.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from pytest_isolate.engine.api import (
    DEFAULT_SUBNETS,
    BinaryExecResult,
    BuildRequest,
    Capability,
    ContainerRequest,
    ContainerState,
    ContainerUsage,
    EngineFacts,
    ExecResult,
    GivenAddress,
    ImageFacts,
    Labelled,
    LogLine,
    PathFacts,
    PathOwner,
    PortBinding,
    ProgressCallback,
    UsageCounters,
)
from pytest_isolate.engine.kubernetes.api_errors import ApiError
from pytest_isolate.engine.kubernetes.cluster_remover import VOLUME_OF, ClusterRemover, claim_name
from pytest_isolate.engine.kubernetes.deaths import PodDeaths
from pytest_isolate.engine.kubernetes.first_control import FirstControl, PodSession
from pytest_isolate.engine.kubernetes.lifetime.renewal import find_abandoned
from pytest_isolate.engine.kubernetes.lifetime.run_objects import RunObjects
from pytest_isolate.engine.kubernetes.neighbours import Neighbours
from pytest_isolate.engine.kubernetes.objects.admission import as_lines
from pytest_isolate.engine.kubernetes.objects.image_config import ImageConfig, ImageSource, find_program
from pytest_isolate.engine.kubernetes.objects.manifests import (
    STOP_SIGNAL,
    Setting,
    build_named,
    build_network,
    build_pod,
    build_volume,
    build_words,
    dropped_limits,
)
from pytest_isolate.engine.kubernetes.objects.object_labels import (
    ADDRESS,
    CLAIM,
    CONTAINER,
    DOMAIN,
    NAME,
    NETWORK,
    RUN,
    VOLUME,
    annotation,
    object_name,
    read_labels,
    select,
    select_by_name,
)
from pytest_isolate.engine.kubernetes.objects.pod_hosts import (
    describe_networks,
    pod_address,
    read_networks,
)
from pytest_isolate.engine.kubernetes.objects.pod_template import merge
from pytest_isolate.engine.kubernetes.objects.quota import read_memory
from pytest_isolate.engine.kubernetes.objects.refused_settings import check_request, find_refusals
from pytest_isolate.engine.kubernetes.pods import ROOM_WITHIN_S, PodLogTail, Pods, is_held, is_up
from pytest_isolate.engine.kubernetes.registry.registry_images import find_machine
from pytest_isolate.engine.kubernetes.service_addresses import ServiceAddresses
from pytest_isolate.errors import BuildFailed, EngineError, ImageNotFound, ObjectNotFound
from pytest_isolate.model.endpoint import Port
from pytest_isolate.model.identity import LABEL_RUN

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient

PORTS = f"{DOMAIN}/ports"
_CAPABILITIES = frozenset(
    {
        Capability.PAUSE,
        Capability.FILES_OUT,
        Capability.TALK,
        Capability.MEMORY_FOLDERS,
        Capability.EXTRA_HOSTS,
        Capability.USAGE,
        # Outside by the relay; inside each service has an address of its own anyway.
        Capability.NATIVE_PORTS,
        Capability.EARLY_ADDRESSES,
    }
)
# They run on machines of their own; more would be refused by servers with their defaults (429).
_PARALLEL_STARTS = 32
_NO_BUILD = (
    "push the image to a registry of your own, and declare it by name: image=",
    "name a registry that Docker pushes to: --isolate-push=REGISTRY",
    "use a cluster of kind or k3d on this machine, and have that program there: images are loaded by it",
    "run these tests with Docker: --isolate-engine=docker",
)
_AS_IT_IS = "its image's ENTRYPOINT and CMD are not known, so that it runs as it is, without our first process"
_LOADED = "or, where it was loaded into the nodes, declare entrypoint= and command= in full"
_DECLARE = "declare entrypoint= in full, and command= if it needs any, or use an image whose registry can be asked"


class Ports(Protocol):
    """Publishes ports of pods on this host."""

    def publish(self, pod: str, bindings: Sequence[PortBinding]) -> Mapping[Port, int]:
        """Listen, and tell the ports of this host by port inside; PortTaken where one is in use. Safe to repeat."""

    def find(self, pod: str) -> Mapping[Port, int]:
        """The same of what is published."""

    def withdraw(self, pod: str) -> None:
        """Listen no longer."""

    def close(self) -> None:
        """Let go of the publisher. What outlives this process goes on."""


class Pusher(Protocol):
    """Builds images elsewhere, and pushes them where the cluster's nodes pull them."""

    def name_of(self, image: str) -> str:
        """The name in the registry of an image that was built."""

    def push(self, request: BuildRequest, tell: ProgressCallback) -> None:
        """Build an image and push it."""


class NoPorts:
    """No port is published: as inside a cluster, where pods are reached at their own addresses."""

    def publish(self, pod: str, bindings: Sequence[PortBinding]) -> Mapping[Port, int]:  # noqa: ARG002  # as of any
        return {}

    def find(self, pod: str) -> Mapping[Port, int]:  # noqa: ARG002  # as of any
        return {}

    def withdraw(self, pod: str) -> None:
        """Nothing is published."""

    def close(self) -> None:
        """Nothing is open."""


class KubernetesEngine(ClusterRemover):
    """One namespace of a cluster."""

    def __init__(
        self,
        client: ClusterClient,
        images: ImageSource,
        ports: Ports | None = None,
        *,
        template: Mapping[str, Any] | None = None,
        pusher: Pusher | None = None,
        job: Mapping[str, str] | None = None,
        room_within_s: float = ROOM_WITHIN_S,
        may_make_services: bool = True,
    ) -> None:
        super().__init__(client)
        self._images = images
        self._ports = ports or NoPorts()
        self._is_inside = ports is None
        self._may_make_services = may_make_services
        self._template = template or {}
        self._control = FirstControl(client)
        self._own_pods = Pods(client, self._control, room_within_s)
        self._neighbours = Neighbours(self._own_pods, self._control)
        self._runs = RunObjects(client, job)
        self._addresses = ServiceAddresses(client)
        self._by_id: dict[str, ImageConfig] = {}
        self._dropped: set[str] = set()
        self._deaths: list[PodDeaths] = []
        self._lock = threading.Lock()
        self._machine = ""
        self._pusher = pusher
        self._memory_bytes = 0
        self._may_be_root = True

    def facts(self) -> EngineFacts:
        major, minor = self._client.server_version()
        is_late = self._is_inside and not self._may_make_services
        lacks = {Capability.EARLY_ADDRESSES} if is_late else set()
        return EngineFacts(
            name="Kubernetes",
            version=f"{major}.{minor}",
            address=self._client.cluster.server,
            is_local=True,  # its ports are published on this host, and can be held
            machine=self._find_machine(),
            capabilities=(_CAPABILITIES - lacks) | ({Capability.BUILD} if self._pusher else set()),
            memory_bytes=self._find_memory(),
            gives_addresses=self._is_inside and self._may_make_services,
            has_addresses=is_late,
            keeps_memory=True,
            parallel_starts=_PARALLEL_STARTS,
            nodes_pull=True,
            checks_requests=True,
        )

    def find_refusals(self, request: ContainerRequest) -> Sequence[tuple[str, str]]:
        return find_refusals(request)

    def give_address(self, labels: Mapping[str, str], ports: Collection[int]) -> GivenAddress:
        return self._addresses.give(labels, ports, self._runs.owner(labels))

    def take_address_back(self, address_id: str) -> None:
        self._addresses.take_back(address_id)

    def address_of(self, container_id: str) -> str:
        return pod_address(self._own_pods.get(container_id, "the address of a container could not be found"))

    def _find_memory(self) -> int:
        """The memory that the namespace's quotas allow to pods in all; a lot where none is known."""
        if not self._memory_bytes:
            try:
                found = self._client.get(f"/api/v1/namespaces/{self._client.namespace}/resourcequotas")
            except ApiError:
                found = {}
            self._memory_bytes = read_memory(found.get("items") or ())
        return self._memory_bytes

    def close(self) -> None:
        with self._lock:
            deaths, self._deaths = self._deaths, []
        for one in deaths:
            one.close()
        self._runs.close()
        self._own_pods.close()
        self._ports.close()
        self._client.close()

    def host_address(self) -> str:
        return ""

    # -- images ----------------------------------------------------------------------------------------------------

    def find_image(self, image: str) -> ImageFacts | None:
        try:
            found = self._find_config(image)
        except ImageNotFound:
            return None
        # Nodes pull images themselves. One of which nothing is known may be on them already.
        return _image_facts(found) if found else ImageFacts(image_id=image)

    def pull_image(self, image: str, tell: ProgressCallback, platform: str | None = None) -> ImageFacts:  # noqa: ARG002
        try:
            found = self._find_config(image)
        except ImageNotFound as error:
            do = [*as_lines(error.do), _LOADED]
            raise ImageNotFound(error.what, tried=error.tried, found=error.found, do=do) from error
        return _image_facts(found) if found else ImageFacts(image_id=image)

    def _find_config(self, image: str) -> ImageConfig | None:
        if image in self._by_id:
            return self._by_id[image]
        # As built images are called here.
        if self._pusher and image.startswith(f"{DOMAIN}/"):
            image = self._pusher.name_of(image)
        found = self._images.find(image)
        if found:
            self._by_id[found.image_id] = found
        return found

    def build_image(self, request: BuildRequest, tell: ProgressCallback) -> ImageFacts:
        what = f"the image of {request.dockerfile} could not be built"
        if self._pusher is None:
            raise BuildFailed(what, found="a cluster builds no images", do=_NO_BUILD)
        self._pusher.push(request, tell)
        self._images.forget(self._pusher.name_of(request.tag))
        found = self._find_config(request.tag)
        if found is None:
            name = self._pusher.name_of(request.tag)
            raise BuildFailed(what, tried=f"look up {name}", found="its registry does not answer from here")
        return _image_facts(found)

    def list_images(self, label: str) -> Sequence[Labelled]:  # noqa: ARG002  # none is ours
        return ()

    def list_untagged_images(self) -> Sequence[str]:
        return ()

    def tag_image(self, image: str, tag: str) -> None:  # noqa: ARG002
        raise EngineError(f"image {image} could not be given a name", found="images of a cluster are its nodes'")

    def remove_image(self, tag: str) -> None:
        """Nothing to do: images of a cluster are its nodes'."""

    # -- networks and volumes --------------------------------------------------------------------------------------

    def create_network(
        self,
        name: str,
        labels: Mapping[str, str],
        *,
        capacity: int = 1,  # noqa: ARG002  # of addresses there is no want
        order: Sequence[int] = (),  # noqa: ARG002  # nothing depends on it
        addresses: str = DEFAULT_SUBNETS,  # noqa: ARG002  # pods have the cluster's
    ) -> str:
        network_id = object_name(name)
        self._client.create(self._secrets, build_network(name, network_id, labels, self._runs.owner(labels)))
        return network_id

    def attach(self, network_id: str, container_id: str, aliases: Sequence[str]) -> None:
        what = "a container could not be attached to a network"
        self._need_network(network_id, what)
        pod = self._own_pods.get(container_id, what)
        networks = {**read_networks(pod), network_id: [*aliases]}
        body = {"metadata": describe_networks(networks)}
        self._client.patch(f"{self._pods}/{container_id}", body)
        self._neighbours.tell([network_id])

    def detach(self, network_id: str, container_id: str) -> None:
        super().detach(network_id, container_id)
        self._neighbours.tell([network_id], left=[container_id])

    def _need_network(self, network_id: str, what: str) -> None:
        try:
            self._client.get(f"{self._secrets}/{network_id}")
        except ApiError as error:
            if error.status != 404:
                raise
            raise ObjectNotFound(what, found=f"there is no network {network_id}") from error

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        try:
            self._client.create(self._secrets, build_volume(name, labels, self._runs.owner(labels)))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    # -- containers ------------------------------------------------------------------------------------------------

    def create_container(self, request: ContainerRequest) -> str:
        what = f"container {request.name} could not be made"
        check_request(request)
        image = self._find_config_for(request, what)
        if request.network:
            self._need_network(request.network, what)
        words = find_program(request.entrypoint, request.command, image)
        owner = self._runs.owner(request.labels)
        secret = build_words(request, words, owner)
        try:
            self._client.create(self._secrets, secret)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            raise EngineError(what, found="its name is already in use", do="remove the other one first") from error
        try:
            self._claim_volumes(request, owner)
            made = self._create_pod(request, words, image, owner)
        except BaseException:
            with suppress(EngineError):  # this must not hide the first error
                self._client.delete(f"{self._secrets}/{secret['metadata']['name']}")
            raise
        name = str(made["metadata"]["name"])
        with self._lock:
            self._dropped |= dropped_limits(request, made)
        self._neighbours.created(name)
        return name

    def _create_pod(
        self,
        request: ContainerRequest,
        words: Sequence[str],
        image: ImageConfig | None,
        owner: Mapping[str, str] | None,
    ) -> Mapping[str, Any]:
        while True:
            setting = self._build_setting(request, owner)
            body = build_pod(request, words, image, setting)
            try:
                return self._own_pods.create(merge({"metadata": _metadata(request)}, body), request)
            except EngineError as error:
                # The namespace takes no pod of root's: then the first process is not, where the image's user is not.
                if not setting.may_be_root or "restricted" not in str(error):
                    raise
                self._may_be_root = False

    def _find_config_for(self, request: ContainerRequest, what: str) -> ImageConfig | None:
        try:
            found = self._find_config(request.image)
            if found and found.is_local:
                self._images.load(found)
            return found
        except ImageNotFound as error:
            if request.entrypoint is not None:
                return None  # all words are known, and a node may have what was loaded there
            raise ObjectNotFound(
                what, tried=error.tried, found=[error.what, *error.found], do=[*as_lines(error.do), _LOADED]
            ) from error

    def _build_setting(self, request: ContainerRequest, owner: Mapping[str, str] | None) -> Setting:
        machine = self._find_machine()
        secret = self._runs.program_secret(request.labels, machine)
        return Setting(
            owner=owner,
            machine=machine,
            template=self._template,
            program_secret=secret,
            may_be_root=self._may_be_root,
        )

    def _find_machine(self) -> str:
        if not self._machine:
            self._machine = find_machine(self._client, self._template)
        return self._machine

    def _claim_volumes(self, request: ContainerRequest, owner: Mapping[str, str] | None) -> None:
        """Note whose a volume is: its data lives with that container, and another one would find none."""
        for name in request.volumes:
            user = self._claim(name, request, owner)
            if user and not self._is_there(user):
                # That container is gone, and the data with it: as when a service is started anew.
                self._client.delete(f"{self._secrets}/{claim_name(object_name(f'volume {name}'))}")
                user = self._claim(name, request, owner)
            if user:
                raise EngineError(
                    f"container {request.name} could not be given volume {name}",
                    found=f"it is that of container {user}; in a cluster a volume lives with one container",
                    do="let one service have it, and others ask that one; or use Docker",
                )

    def _claim(self, volume: str, request: ContainerRequest, owner: Mapping[str, str] | None) -> str:
        """Claim a volume for a container; the name of the one that has it already, else empty."""
        claim = claim_name(object_name(f"volume {volume}"))
        try:
            self._client.create(self._secrets, build_named(CLAIM, request.name, claim, request.labels, owner))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            user = annotation(self._client.get(f"{self._secrets}/{claim}"), NAME)
            return "" if user == request.name else user
        return ""

    def _is_there(self, container: str) -> bool:
        """True for a container that there is, or is about to be: the words of its program come before its pod."""
        try:
            self._client.get(f"{self._secrets}/{object_name(container)}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def dropped_limits(self) -> Collection[str]:
        return self._dropped

    def remove_container(self, container_id: str) -> None:
        super().remove_container(container_id)
        self._ports.withdraw(container_id)
        self._own_pods.forget(container_id)
        self._neighbours.forget(container_id)

    def inspect_container(self, container_id: str) -> ContainerState:
        return replace(self._own_pods.inspect(container_id), ports=self._ports.find(container_id))

    # -- the program -----------------------------------------------------------------------------------------------

    def start_container(self, container_id: str) -> None:
        what = "a container could not be started"
        pod = self._own_pods.get(container_id, what)
        if not is_held(pod):
            self._own_pods.ungate(container_id)
            self._own_pods.bring_up(container_id, what)
            self._ports.publish(container_id, read_bindings(pod))
            self._tell_start(container_id, read_labels(pod))
            return
        self._own_pods.bring_up(container_id, what)
        if not pod_address(pod):
            pod = self._own_pods.get(container_id, what)
        self._ports.publish(container_id, read_bindings(pod))
        try:
            is_new = self._neighbours.start(pod)
        except EngineError:
            self._ports.withdraw(container_id)
            raise
        if is_new:
            self._own_pods.note_start(container_id)
            self._tell_start(container_id, read_labels(pod))
        self._neighbours.tell(read_networks(pod), but=container_id)

    def _tell_start(self, container_id: str, labels: Mapping[str, str]) -> None:
        with self._lock:
            deaths = list(self._deaths)
        for one in deaths:
            one.started(container_id, labels)

    def stop_container(self, container_id: str, timeout_s: int) -> None:
        pod = self._need_first(container_id, "a container could not be stopped")
        if is_up(pod):
            self._control.stop(container_id, annotation(pod, STOP_SIGNAL), timeout_s)
            self._own_pods.note_end(container_id)

    def kill_container(self, container_id: str) -> None:
        if is_up(self._need_first(container_id, "a container could not be killed")):
            self._control.kill(container_id)
            self._own_pods.note_end(container_id)

    def pause_container(self, container_id: str) -> None:
        self._bring_up_first(container_id, "a container could not be paused")
        self._control.pause(container_id)

    def unpause_container(self, container_id: str) -> None:
        self._bring_up_first(container_id, "a container could not be unpaused")
        self._control.resume(container_id)

    def _need_first(self, container_id: str, what: str) -> Mapping[str, Any]:
        pod = self._own_pods.get(container_id, what)
        if not is_held(pod):
            raise EngineError(what, found=_AS_IT_IS, do=_DECLARE)
        return pod

    def _bring_up_first(self, container_id: str, what: str) -> None:
        self._need_first(container_id, what)
        self._own_pods.bring_up(container_id, what)

    # -- what is inside --------------------------------------------------------------------------------------------

    def copy_into(self, container_id: str, archive: bytes | Iterable[bytes], folder: str = "/") -> None:
        self._bring_up_first(container_id, "files could not be copied into a container")
        self._control.unpack(container_id, archive, folder)

    def save_archive(self, container_id: str, path: str, file: Path, most_bytes: int) -> bool:
        self._bring_up_first(container_id, f"{path} could not be copied out of a container")
        return self._control.pack(container_id, path, file, most_bytes)

    def find_path(self, container_id: str, path: str) -> PathFacts | None:
        self._bring_up_first(container_id, f"{path} could not be looked at in a container")
        return self._control.find_path(container_id, path)

    def read_owner(self, container_id: str, path: str) -> PathOwner:
        self._bring_up_first(container_id, f"{path} could not be looked at in a container")
        return self._control.read_owner(container_id, path)

    def read_usage(self, container_id: str) -> ContainerUsage | None:
        return self._control.read_usage(container_id) if self.inspect_container(container_id).is_running else None

    def read_counters(self, container_id: str) -> UsageCounters | None:  # noqa: ARG002  # it is another machine's
        return None

    def read_connections(self, container_id: str) -> str | None:  # noqa: ARG002  # the same
        return None

    def read_logs(self, container_id: str, *, tail: int | None = None, since: float = 0, stream: str = "") -> str:
        if stream:
            what = f"the {stream} of a container could not be read alone"
            raise EngineError(what, found="a cluster keeps both outputs as one log", do="look into the log as a whole")
        return "".join(f"{line.text}\n" for line in self._own_pods.read_lines(container_id, since, tail))

    def follow_log(self, container_id: str, tail: int) -> PodLogTail:
        what = "a container's log could not be followed"
        pod = self._own_pods.get(container_id, what)
        self._own_pods.bring_up(container_id, what)
        end = self._control.wait(container_id) if is_held(pod) else self._own_pods.await_end(container_id)
        return PodLogTail(self._own_pods, end, container_id, tail)

    def read_log_lines(self, container_id: str, since: float, tail: int | None = None) -> Iterator[LogLine]:
        yield from self._own_pods.read_lines(container_id, since, tail)

    def listen(self, container_id: str) -> None:  # noqa: ARG002  # its output goes to a first process of ours
        return None

    def run_command(self, container_id: str, argv: Sequence[str]) -> ExecResult:
        return self.run_binary_command(container_id, argv).decode()

    def run_binary_command(self, container_id: str, argv: Sequence[str]) -> BinaryExecResult:
        self._own_pods.bring_up(container_id, f"the command {argv[0]!r} could not be run in a container")
        return self._control.run(container_id, argv, is_held=self._own_pods.has_first(container_id))

    def open_session(self, container_id: str, argv: Sequence[str], env: Mapping[str, str]) -> PodSession:
        self._own_pods.bring_up(container_id, f"the command {argv[0]!r} could not be run in a container")
        is_held = self._own_pods.has_first(container_id)
        return self._control.open_session(container_id, argv, env, is_held=is_held)

    # -- all of them -----------------------------------------------------------------------------------------------

    def find_labelled(self, label: str) -> Sequence[Labelled]:
        found: list[tuple[str, str, Mapping[str, Any]]] = []
        found += [("container", o["metadata"]["name"], o) for o in self._labelled(self._pods, CONTAINER, label)]
        found += [("network", o["metadata"]["name"], o) for o in self._labelled(self._secrets, NETWORK, label)]
        owners = list(self._list_runs(select_by_name(RUN, label)))
        abandoned = find_abandoned(owner for _, owner in owners)
        found += [("network", run_id, o) for run_id, o in owners]
        found += [("volume", annotation(o, NAME), o) for o in self._labelled(self._secrets, VOLUME, label)]
        return [
            Labelled(
                kind=kind,
                object_id=object_id,
                name=annotation(o, NAME),
                labels=(labels := read_labels(o)),
                is_abandoned=labels.get(LABEL_RUN) in abandoned,
            )
            for kind, object_id, o in found
        ]

    def _labelled(self, path: str, kind: str, label: str) -> list[dict[str, Any]]:
        return [found for found in self._list(path, select_by_name(kind, label)) if label in read_labels(found)]

    def watch(self, labels: Mapping[str, str]) -> PodDeaths:
        deaths = PodDeaths(self._control, self._own_pods, labels)
        with self._lock:
            self._deaths.append(deaths)
        for pod in self._list(self._pods, select(CONTAINER, labels)):
            if is_held(pod) and pod_address(pod):
                deaths.started(pod["metadata"]["name"], read_labels(pod), is_new=False)
        return deaths


def read_bindings(pod: Mapping[str, Any]) -> list[PortBinding]:
    """The ports of a pod that were to be published; inside the cluster at its address, empty where that came later."""
    written = json.loads(annotation(pod, PORTS) or "[]")
    return [PortBinding(inner=inner, host_ip=host_ip, host_port=port) for inner, host_ip, port in written]


def _metadata(request: ContainerRequest) -> dict[str, Any]:
    """Networks, volumes and ports of a container, as its pod tells them."""
    described = describe_networks({request.network: request.aliases} if request.network else {})
    volumes = {f"{VOLUME_OF}/{object_name(f'volume {name}')}": "" for name in request.volumes}
    ports = json.dumps([(binding.inner, binding.host_ip, binding.host_port) for binding in request.ports])
    return {
        "labels": {**described["labels"], **volumes, **({ADDRESS: request.address_id} if request.address_id else {})},
        "annotations": {**described["annotations"], **({PORTS: ports} if request.ports else {})},
    }


def _image_facts(found: ImageConfig) -> ImageFacts:
    return ImageFacts(
        image_id=found.image_id,
        health_command=found.health_command,
        variables=found.env,
        platform=found.platform,
    )
