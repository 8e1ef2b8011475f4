"""The Docker network of a fake cluster: addresses of Pods and of Services, and what stands for kube-proxy."""

from __future__ import annotations

import ipaddress
import itertools
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import docker

LABEL = "pytest-isolate-tests.fake-cluster"
_RANGE = ipaddress.IPv4Network("10.191.0.0/16")
_TESTS = Path(__file__).parents[3]


class Network:
    """Its subnet has 2,048 addresses: the lower half is for Pods, the upper one for Services."""

    def __init__(self, client: Any, cluster: str, image: str) -> None:
        self._client = client
        self._cluster = cluster
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self.name, subnet = self._create()
        lower, upper = subnet.subnets(prefixlen_diff=1)
        self.gateway = str(lower[1])
        self.dns = self._proxy_address = str(lower[2])
        self._pods = itertools.cycle([str(address) for address in lower][3:-1])
        self._services = itertools.cycle([str(address) for address in upper][1:-1])
        self._holder = self._start_holder(image)
        pid = client.inspect_container(self._holder)["State"]["Pid"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kubernetes.fake.node.service_proxy", str(pid), str(upper)],
            cwd=_TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        if self._process.stdout.readline().strip() != "ready":
            raise RuntimeError("the process that stands for kube-proxy did not start; it needs root")

    def _create(self) -> tuple[str, ipaddress.IPv4Network]:
        name = f"fake-cluster-{self._cluster}"
        for subnet in _RANGE.subnets(new_prefix=21):
            pools = [docker.types.IPAMPool(subnet=str(subnet))]
            try:
                self._client.create_network(
                    name,
                    driver="bridge",
                    ipam=docker.types.IPAMConfig(pool_configs=pools),
                    labels={LABEL: self._cluster},
                )
            except docker.errors.APIError as error:
                # Another fake cluster, or another network of this host, has these addresses.
                if "overlap" not in str(error):
                    raise
            else:
                return name, subnet
        raise RuntimeError(f"each part of {_RANGE} is in use by another network")

    def _start_holder(self, image: str) -> str:
        config = {
            "Image": image,
            "Entrypoint": ["sleep", "infinity"],
            "Labels": {LABEL: self._cluster},
            "HostConfig": {"NetworkMode": self.name},
            "NetworkingConfig": self.endpoint(self._proxy_address),
        }
        holder = self._client.create_container_from_config(config, f"fake-cluster-{self._cluster}-proxy")["Id"]
        self._client.start(holder)
        return str(holder)

    def endpoint(self, address: str) -> dict[str, Any]:
        """The part of a container's configuration that puts it on this network with an address."""
        return {"EndpointsConfig": {self.name: {"IPAMConfig": {"IPv4Address": address}}}}

    def allocate_pod_address(self) -> str:
        return self._allocate(self._pods)

    def allocate_service_address(self) -> str:
        return self._allocate(self._services)

    def release(self, address: str) -> None:
        with self._lock:
            self._used.discard(address)

    def _allocate(self, addresses: itertools.cycle[str]) -> str:
        with self._lock:
            address = next(address for address in addresses if address not in self._used)
            self._used.add(address)
            return address

    def serve(self, address: str, port: int, targets: list[tuple[str, int, int]] | None) -> None:
        """Let a port of a Service lead to Pods: address, port and a process of each. With None it hangs from now on."""
        assert self._process.stdin
        line = json.dumps({"address": address, "port": port, "targets": targets})
        with self._lock:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._client.remove_container(self._holder, force=True)
        remove_network(self._client, self.name)


def remove_network(client: Any, name: str) -> None:
    """Remove it as soon as Docker has let go of the last container that was on it."""
    deadline = time.monotonic() + 10
    while True:
        try:
            client.remove_network(name)
            return
        except docker.errors.APIError as error:
            if "active endpoints" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.2)
