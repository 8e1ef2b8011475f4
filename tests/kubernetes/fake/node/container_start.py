"""The start of one container of a Pod, and what may be in its way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from kubernetes.fake.api.store import Object, Store
from kubernetes.fake.node.containers import build_config, check_user
from kubernetes.fake.node.environment import ConfigError, read_variables
from kubernetes.fake.node.images import ImageError, ensure_image
from kubernetes.fake.node.network import LABEL, Network
from kubernetes.fake.node.pod_status import not_started, waiting
from kubernetes.fake.node.stopping import remove_container
from kubernetes.fake.node.volumes import PodVolumes, bind

POD_LABEL = "pytest-isolate-tests.fake-pod"
_BACK_OFF_S = (10, 20, 40, 80, 160, 300)
_HOSTS = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


@dataclass
class Node:
    """All that Pods are made with."""

    store: Store
    client: Any
    network: Network
    folder: Path
    cluster: str
    variables: Mapping[str, str]  # that tell each container where the API server is
    account_files: Callable[[Object], Mapping[str, bytes]]
    # Docker 20.10 loses count of a network's endpoints when a hundred come and go at once: it cannot be removed then.
    slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(8))


class Doomed(Exception):
    """The Pod is to end, and what it waits for no longer matters."""


State = dict[str, Any]
Wait = Callable[[float], bool]
"""Waits for some seconds, and returns True where the Pod is to end."""


@dataclass
class ContainerStart:
    """Starts a container; `tell` is given each state on the way, with the id of a container that there is."""

    node: Node
    pod: Object
    address: str
    container: Object
    wait: Wait
    tell: Callable[..., None]

    @property
    def folder(self) -> Path:
        return self.node.folder / str(self.pod["metadata"]["uid"])

    def volumes(self) -> PodVolumes:
        account = self.node.account_files(self.pod)
        return PodVolumes(self.folder / "volumes", self.node.store, self.pod, account)

    def start(self, number: int, joined: str) -> str:
        """Return the id of a container that was started, or could not be; Doomed where the Pod ends before."""
        image = self._obtain_image()
        while True:
            try:
                check_user(self.pod, self.container, image)
                variables = read_variables(self.node.store, self.pod, self.container, self.node.variables)
                with self.node.slots:
                    container_id = self._create(number, image, variables, joined)
                break
            except ConfigError as error:
                self.tell(waiting("CreateContainerConfigError", str(error)))
            except docker.errors.APIError as error:
                self.tell(waiting("CreateContainerError", str(error.explanation)))
            self._pause(2)
        if self.wait(0):
            remove_container(self.node, container_id)
            raise Doomed
        self.tell(waiting("ContainerCreating"), container_id)
        try:
            with self.node.slots:
                self.node.client.start(container_id)
        except docker.errors.APIError as error:
            text = f"failed to create containerd task: failed to create shim task: {error.explanation}"
            self.tell(not_started(container_id, text), container_id)
        return container_id

    def _pause(self, seconds: float) -> None:
        if self.wait(seconds):
            raise Doomed

    def _obtain_image(self) -> Mapping[str, Any]:
        for number in range(10**6):
            try:
                return ensure_image(self.node.client, self.node.store, self.pod, self.container)
            except ImageError as error:
                self.tell(waiting(error.reason, error.message))
                self._pause(1)
                if not error.is_final:
                    text = f'Back-off pulling image "{self.container["image"]}": {error.reason}: {error.message}'
                    self.tell(waiting("ImagePullBackOff", text))
                self._pause(_BACK_OFF_S[min(number, len(_BACK_OFF_S) - 1)])
        raise Doomed

    def _create(self, number: int, image: Mapping[str, Any], variables: Mapping[str, str], joined: str) -> str:
        meta, name = self.pod["metadata"], self.container["name"]
        network: dict[str, Any] = {"mode": f"container:{joined}"}
        if not joined:
            network = {"mode": self.node.network.name, "endpoint": self.node.network.endpoint(self.address)}
        config = build_config(
            self.pod,
            self.container,
            image_id=image["Id"],
            variables=variables,
            mounts=[*self.volumes().mounts(self.container), *self._own_mounts()],
            labels={LABEL: self.node.cluster, POD_LABEL: meta["uid"], "name": meta["name"], "container": name},
            network=network,
        )
        title = f"k8s_{name}_{meta['name']}_{meta['namespace']}_{meta['uid']}_{number}"
        return str(self.node.client.create_container_from_config(config, title)["Id"])

    def _own_mounts(self) -> Iterator[dict[str, Any]]:
        paths = [mount["mountPath"] for mount in self.container.get("volumeMounts") or ()]
        self.folder.mkdir(parents=True, exist_ok=True)
        if "/etc/hosts" not in paths:
            hosts = self.folder / "hosts"
            hosts.write_text(self._hosts())
            yield bind(hosts, "/etc/hosts", is_read_only=False)
        # Docker's own DNS does not answer who has a Pod's address: the names of its containers are too long for it.
        servers = self.folder / "resolv.conf"
        servers.write_text(f"nameserver {self.node.network.dns}\n")
        yield bind(servers, "/etc/resolv.conf", is_read_only=False)
        message = self.termination_log()
        message.touch()
        os.chmod(message, 0o666)
        yield bind(message, self.container["terminationMessagePath"], is_read_only=False)

    def termination_log(self) -> Path:
        return self.folder / f"termination-{self.container['name']}"

    def _hosts(self) -> str:
        spec = self.pod["spec"]
        lines = [f"{self.address}\t{(spec.get('hostname') or self.pod['metadata']['name'])[:63]}\n"]
        lines += [
            f"{alias['ip']}\t{' '.join(alias.get('hostnames') or ())}\n" for alias in spec.get("hostAliases") or ()
        ]
        return _HOSTS + "".join(lines)
