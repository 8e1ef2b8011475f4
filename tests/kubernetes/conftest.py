"""A fake cluster, and a namespace of it for each test."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine.real_registry import open_real_registry
from fakes.programs import IMAGE
from waiting import wait_for

from kubernetes.calling import Api
from kubernetes.fake.handle import FakeCluster
from kubernetes.fake.node.network import LABEL
from kubernetes.projects import TESTS, Project, what_is_there

MACHINE = "pytest-isolate-tests/machine"
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def fake_cluster(tmp_path_factory: pytest.TempPathFactory, docker_client: Any) -> Iterator[FakeCluster]:
    """A cluster; at the end nothing of it is on Docker."""
    if os.geteuid() != 0:
        pytest.skip("a fake cluster enters the networks of its containers: that needs root")
    cluster = FakeCluster(tmp_path_factory.mktemp("cluster"), "--image", IMAGE)
    name = (cluster.folder / "cluster-id").read_text()
    yield cluster
    cluster.close()
    only = {"label": f"{LABEL}={name}"}
    assert docker_client.containers(all=True, filters=only) == []
    assert docker_client.networks(filters=only) == []


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    """That of a fake cluster, unless ISOLATE_TEST_KUBECONFIG names one; its nodes have the base image."""
    named = os.environ.get("ISOLATE_TEST_KUBECONFIG")
    return Path(named) if named else request.getfixturevalue("fake_cluster").kubeconfig


@pytest.fixture
def namespace(fake_cluster: FakeCluster) -> Iterator[str]:
    name = f"test-{secrets.token_hex(4)}"
    fake_cluster.order("add_namespace", name=name)
    yield name
    admin = Api(fake_cluster.kubeconfig, name)
    admin.call("DELETE", "pods", gracePeriodSeconds=0)
    admin.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def api(fake_cluster: FakeCluster, namespace: str) -> Api:
    """The API as its administrator sees it."""
    return Api(fake_cluster.kubeconfig, namespace)


@pytest.fixture
def kubectl(fake_cluster: FakeCluster, namespace: str, tmp_path: Path) -> Kubectl:
    """A function that runs kubectl; it has to end well unless `code` names another end."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")

    def run(*args: str, code: int = 0, text: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(fake_cluster.kubeconfig), "--namespace", namespace, *args],
            env={**os.environ, "HOME": str(tmp_path)},
            input=text,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done

    return run


class Pods:
    """Makes Pods of one container, and waits for them."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(self, command: list[str] | None = None, **spec: Any) -> str:
        """The name of a new Pod; `container` has more of its container, `meta` of its metadata."""
        name = f"pod-{secrets.token_hex(4)}"
        container = {"name": "main", "image": IMAGE, **spec.pop("container", {})}
        if command:
            container["command"] = command
        meta = {"name": name, "labels": {"app": name}, **spec.pop("meta", {})}
        body = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": meta,
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], **spec},
        }
        self._api.create("pods", body)
        return name

    def get(self, name: str) -> Any:
        return self._api.get(f"pods/{name}")

    def state(self, name: str) -> dict[str, Any]:
        """The state of its container: waiting, running or terminated."""
        statuses = self.get(name)["status"].get("containerStatuses") or [{"state": {}}]
        return dict(statuses[0]["state"])

    def wait_for(self, name: str, state: str, reason: str = "") -> dict[str, Any]:
        """The container's state when it is that one, with that reason where one is named."""

        def found() -> Any:
            now = self.state(name).get(state)
            return now is not None and (not reason or now.get("reason") == reason)

        wait_for(found, show=lambda: self.get(name))
        return dict(self.state(name)[state])

    def run(self, command: list[str] | None = None, **spec: Any) -> str:
        """The name of a new Pod that runs."""
        name = self.create(command, **spec)
        self.wait_for(name, "running")
        return name

    def serve(self, command: list[str]) -> str:
        """The name of a new Pod whose program has written that it is ready."""
        name = self.run(command)
        wait_for(lambda: "ready\n" in self._api.call("GET", f"pods/{name}/log")[1])
        return name


@pytest.fixture
def pods(api: Api) -> Pods:
    return Pods(api)


@pytest.fixture
def project(tmp_path: Path, fake_cluster: FakeCluster, namespace: str, api: Api) -> Iterator[Project]:
    """However its runs end, soon nothing of them is left in the namespace."""
    folder = tmp_path / "project"
    folder.mkdir()
    yield Project(folder, fake_cluster, namespace)
    wait_for(lambda: not what_is_there(api), 60, show=lambda: what_is_there(api))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, docker_client: Any) -> Iterator[str]:
    """The address of a registry that takes images from anybody."""
    with open_real_registry(tmp_path_factory.mktemp("registry"), docker_client, is_open=True) as found:
        yield found.address


@pytest.fixture(scope="session")
def machine(docker_client: Any) -> str:
    """An image with a Python that has what this package needs."""
    for line in docker_client.build(path=str(TESTS / "remote" / "machine"), tag=MACHINE, rm=True, decode=True):
        assert "error" not in line, line["error"]
    return MACHINE
