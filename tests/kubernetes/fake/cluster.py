"""One fake cluster: its parts put together, and the orders that tests give to it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import docker
import yaml

from kubernetes.fake import certificates
from kubernetes.fake.api.collector import Collector
from kubernetes.fake.api.faults import Fault, Faults
from kubernetes.fake.api.kinds import BY_NAME
from kubernetes.fake.api.rest import Rest
from kubernetes.fake.api.rights import ACCOUNT, Rights
from kubernetes.fake.api.server import Handler, Site
from kubernetes.fake.api.store import Object, Store
from kubernetes.fake.node.container_start import Node
from kubernetes.fake.node.kubelet import Kubelet, remove_leftovers
from kubernetes.fake.node.network import Network
from kubernetes.fake.node.services import Services
from kubernetes.fake.streams.execute import serve_attach, serve_exec
from kubernetes.fake.streams.forward import serve_forward
from kubernetes.fake.streams.logs import serve_logs

ADMIN = "kubernetes-admin"


class Cluster:
    """Each method without an underscore, but serve and close, is an order: it takes and returns plain JSON."""

    def __init__(self, folder: Path, *, image: str, is_encrypted: bool) -> None:
        self._folder = folder
        self._id = secrets.token_hex(4)
        # What a killed process leaves behind is found by this.
        (folder / "cluster-id").write_text(self._id)
        self._client = docker.APIClient(num_pools=50, timeout=None)  # a followed log may be silent for long
        self._network = Network(self._client, self._id, image)
        store = Store()
        self._rights = Rights(store, masters={ADMIN})
        self._rest = Rest(store, self._rights, self._network.allocate_service_address)
        self._site = Site(self._rest, Faults())
        self._addresses = ("127.0.0.1", self._network.gateway)
        if is_encrypted:
            self._site.tls = self._make_tls()
        self._listening: list[socket.socket] = []
        self._port = 0
        self.start()
        self._write_kubeconfig("kubeconfig", ADMIN, "tests")
        variables = {"KUBERNETES_SERVICE_HOST": self._network.gateway, "KUBERNETES_SERVICE_PORT": str(self._port)}
        node = Node(store, self._client, self._network, folder / "pods", self._id, variables, self._account_files)
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._kubelet = Kubelet(node, {"cpu": "64", "memory": str(size), "pods": "1000"})
        self._collector = Collector(self._rest)
        self._services = Services(store, self._network, self._kubelet.find_process)
        streams = {"exec": serve_exec, "attach": serve_attach, "portforward": serve_forward, "log": serve_logs}
        self._site.streams = {name: partial(serve, self._kubelet) for name, serve in streams.items()}
        for name in ("default", "tests"):
            self.add_namespace(name)

    def _make_tls(self) -> ssl.SSLContext:
        certificates.make_authority(self._folder)
        hosts = (*self._addresses, "localhost", "kubernetes.default.svc")
        certificates.make_certificate(self._folder, "server", hosts=hosts)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "server.crt", self._folder / "server.key")
        context.load_verify_locations(self._folder / "ca.crt")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _account_files(self, pod: Object) -> dict[str, bytes]:
        namespace = pod["metadata"]["namespace"]
        token = self._rights.token_of(f"{ACCOUNT}{namespace}:{pod['spec']['serviceAccountName']}")
        files = {"token": token.encode(), "namespace": namespace.encode()}
        if self._site.tls:
            files["ca.crt"] = (self._folder / "ca.crt").read_bytes()
        return files

    def _write_kubeconfig(self, name: str, user: str, namespace: str, credentials: dict[str, str] | None = None) -> str:
        scheme = "https" if self._site.tls else "http"
        server: dict[str, str] = {"server": f"{scheme}://127.0.0.1:{self._port}"}
        if self._site.tls:
            server["certificate-authority"] = str(self._folder / "ca.crt")
        context = {"cluster": "fake", "user": user, "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": server}],
            "users": [{"name": user, "user": credentials or {"token": self._rights.token_of(user)}}],
            "contexts": [{"name": "fake", "context": context}],
            "current-context": "fake",
        }
        path = self._folder / name
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return str(path)

    def close(self) -> None:
        """Remove all that is on Docker."""
        self.stop()
        self._collector.close()
        self._services.close()
        self._kubelet.close()
        self._network.close()
        remove_leftovers(self._client, self._id)
        self._client.close()

    # Orders

    def start(self, warming_s: float = 0) -> dict[str, Any]:
        """Listen, on the same port as before; lists and watches are refused until the cache is warm."""
        self._site.warm_at = time.monotonic() + warming_s
        for address in self._addresses:
            listening = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address, self._port))
            listening.listen(256)
            self._port = listening.getsockname()[1]
            self._listening.append(listening)
            threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return {"port": self._port}

    def stop(self) -> None:
        """Break every connection, and listen no longer; Pods and objects stay."""
        for listening in self._listening:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        self._listening.clear()
        with self._site.lock:
            self._site.generation += 1
            connections = list(self._site.connections)
        for connection in connections:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        bound = type("BoundHandler", (Handler,), {"site": self._site})

        def serve(connection: socket.socket, address: Any) -> None:
            with suppress(OSError, ssl.SSLError):
                bound(connection, address, self)

        while True:
            try:
                connection, address = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection, address), daemon=True).start()

    def add_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        body = {"metadata": {"name": name, "labels": labels or {}}}
        self._rest.create(BY_NAME["Namespace"], "", body, {}, ADMIN)

    def add_user(self, user: str, namespace: str, rules: list[dict[str, Any]]) -> dict[str, str]:
        """A user with the rules of a Role in a namespace; the answer has his token and a kubeconfig."""
        token = self._rights.add_user(user, namespace, rules)
        return {"token": token, "kubeconfig": self._write_kubeconfig(f"kubeconfig-{user}", user, namespace)}

    def revoke_tokens(self, user: str) -> None:
        """Let the tokens of a user be worth nothing from now on, as when they have expired."""
        self._rights.revoke_tokens(user)

    def add_certificate(self, user: str, namespace: str) -> dict[str, str]:
        """A kubeconfig of a user by a certificate; his rights are those of a user that was added by this name."""
        certificates.make_certificate(self._folder, f"user-{user}", user=user)
        files = {
            kind: str(self._folder / f"user-{user}.{end}") for kind, end in (("certificate", "crt"), ("key", "key"))
        }
        credentials = {f"client-{kind}": path for kind, path in files.items()}
        return {"kubeconfig": self._write_kubeconfig(f"kubeconfig-{user}-certificate", user, namespace, credentials)}

    def add_fault(self, **facts: Any) -> None:
        self._site.faults.pending.append(Fault(**facts))

    def expire(self) -> None:
        """Let every watch from a version before this moment fail with 410."""
        self._rest.store.forget_changes()

    def set_full(self, is_full: bool) -> None:
        """Let the node take no more Pods, or again: what comes is unschedulable."""
        self._kubelet.is_full = is_full

    def set_capacity(self, **amounts: str) -> None:
        self._kubelet.capacity.update(amounts)

    def set_version(self, major: int, minor: int) -> None:
        self._site.version = (major, minor)

    def set_watch_lag(self, seconds: float) -> None:
        self._site.watch_lag_s = seconds

    def counts(self) -> dict[str, Any]:
        faults = self._site.faults
        return {
            "requests": dict(faults.counts),
            "open_connections": faults.open_connections,
            "most_connections": faults.most_connections,
            "pending_faults": [asdict(fault) for fault in faults.pending],
        }

    def reset_counts(self) -> None:
        self._site.faults.counts.clear()
        self._site.faults.most_connections = self._site.faults.open_connections

    def containers(self, namespace: str, pod: str) -> dict[str, str]:
        """Docker's ids of a Pod's containers, by their names: a second opinion for tests."""
        uid = self._rest.store.get("pods", namespace, pod)["metadata"]["uid"]
        worker = self._kubelet.workers.get(uid)
        return dict(worker.ids) if worker else {}

    def evict(self, namespace: str, pod: str) -> None:
        """End a Pod as a node does that runs out of memory."""
        uid = self._rest.store.get("pods", namespace, pod)["metadata"]["uid"]
        self._kubelet.workers[uid].fail("Evicted", "The node was low on resource: memory.")

    def obey(self, line: str) -> str:
        """Carry out an order that is written as JSON, and write the answer."""
        order = json.loads(line)
        try:
            answer = getattr(self, order["order"])(**order["facts"])
        except Exception as error:  # told to the test
            return json.dumps({"error": f"{type(error).__name__}: {error}"})
        return json.dumps({"answer": answer})
